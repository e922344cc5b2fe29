"use strict";
const id = (name) => document.getElementById(name);
const steps = [...document.querySelectorAll(".timeline a")];
let now = 0;
let playing = null;

function show(index) {
  now = Math.max(0, Math.min(steps.length - 1, index));
  const { e, d } = steps[now].dataset;
  id("decision").replaceChildren(id(`e${e}d${d}`).content.cloneNode(true));
  steps.forEach((step, i) => step.classList.toggle("on", i === now));
  document.querySelectorAll(".timeline").forEach((line) => (line.hidden = line.dataset.e !== e));
  document.querySelectorAll(".episodes a").forEach((tab, i) => tab.classList.toggle("on", i + 1 === Number(e)));
  const own = steps.filter((step) => step.dataset.e === e);
  id("where").textContent = `episode ${e} · decision ${d} (${own.indexOf(steps[now]) + 1} of ${own.length})`;
  id("back").disabled = now === 0;
  id("next").disabled = now === steps.length - 1;
  const line = steps[now].closest(".scroll");
  const bar = steps[now].getBoundingClientRect();
  line.scrollLeft += bar.left + bar.width / 2 - line.getBoundingClientRect().left - line.clientWidth / 2;
  history.replaceState(null, "", `#e=${e}&d=${d}`);
}

// The next decision that has a mark, from the first one on again after the last
function jump(mark) {
  const order = [...steps.keys()].map((i) => (now + 1 + i) % steps.length);
  const found = order.find((i) => mark in steps[i].dataset);
  if (found !== undefined) show(found);
}

function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => (now === steps.length - 1 ? play(false) : show(now + 1)), 1000) : null;
  id("play").classList.toggle("on", on);
}

function follow() {
  const link = new URLSearchParams(location.hash.slice(1));
  show(Math.max(0, steps.findIndex(({ dataset }) => dataset.e === link.get("e") && dataset.d === link.get("d"))));
}

const deeds = {
  ArrowLeft: () => show(now - 1),
  ArrowRight: () => show(now + 1),
  " ": () => play(!playing),
  m: () => jump("change"),
  s: () => jump("surprise"),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in deeds)) return;
  event.preventDefault();
  deeds[event.key]();
});
const buttons = { back: "ArrowLeft", next: "ArrowRight", play: " ", change: "m", surprise: "s" };
for (const [name, key] of Object.entries(buttons)) {
  id(name).addEventListener("click", (event) => (event.currentTarget.blur(), deeds[key]()));
}
for (const mark of ["change", "surprise"]) id(mark).disabled = !steps.some((step) => mark in step.dataset);
window.addEventListener("hashchange", follow);
follow();
