"""The page in a real browser: complete, alone, moved through by keys and links, at home on narrow screens."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from sheeprl_dnp.watch.page import write_page
from sheeprl_dnp.watch.witness import Episode

from .conftest import AGENTS

Watched = Callable[[str], tuple[str, list[Episode], int]]
ABOUT = {"title": "A", "agent": "B", "kind": "dream", "rule": "C", "checkpoint": "D", "seed": 0, "worlds": "E"}
FRAMES = """async () => {
  const pictures = [...document.querySelectorAll("#decision .p")];
  const sheets = {};
  const blank = [];
  for (const picture of pictures) {
    const style = getComputedStyle(picture);
    const url = style.backgroundImage.slice(5, -2);
    if (!(url in sheets)) {
      sheets[url] = new Image();
      sheets[url].src = url;
      await sheets[url].decode();
    }
    const sheet = sheets[url], scale = sheet.width / parseFloat(style.backgroundSize);
    const [x, y] = style.backgroundPosition.split(" ").map((v) => Math.round(-parseFloat(v) * scale));
    const [width, height] = [picture.clientWidth, picture.clientHeight].map((v) => Math.round(v * scale));
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(sheet, -x, -y);
    const data = context.getImageData(0, 0, width, height).data;
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 4).join());
    if (colours.size < 2 || data.some((v, i) => i % 4 === 3 && v < 255)) blank.push(picture.outerHTML);
  }
  return { pictures: pictures.length, blank };
}"""


@dataclass
class Visit:
    """An open page, and what it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def at(self) -> str:
        return self.page.evaluate("location.hash")

    def press(self, *keys: str) -> str:
        for key in keys:
            self.page.keyboard.press(key)
        return self.at()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path, watched: Watched) -> Iterator[Callable[..., Visit]]:
    """Opens the page of one of `AGENTS`, or one that is given; it must say nothing and ask for nothing else."""
    visits = []

    def open_page(name: str = "dream", content: str | None = None, link: str = "", **options: object) -> Visit:
        page = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)).new_page()
        visits.append(Visit(page))
        page.on("console", lambda message: visits[-1].said.append(message.text))
        page.on("pageerror", lambda error: visits[-1].said.append(str(error)))
        page.on("request", lambda request: visits[-1].asked.append(request.url))
        path = tmp_path / "page.html"
        path.write_text(content or watched(name)[0])
        page.goto(path.as_uri() + link)
        return visits[-1]

    yield open_page
    for visit in visits:
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith(("file:", "data:"))] == []
        visit.page.context.close()


@pytest.mark.parametrize("name", AGENTS)
def test_every_decision_is_shown_whole(visit: Callable[..., Visit], watched: Watched, name: str) -> None:
    opened = visit(name)
    decisions = [decision for episode in watched(name)[1] for decision in episode.decisions]
    for number, decision in enumerate(decisions):
        if number:
            opened.press("ArrowRight")
        shown = opened.page.locator("#decision")
        assert shown.locator(".lane:not(.after)").count() == len(decision.steps)
        halting = [float(text) for text in shown.locator(".p-n").all_inner_texts()]
        if name != "dreamer_v3":
            assert shown.locator(".lane.taken h3").inner_text() == f"step {decision.taken} acted here"
            assert sum(halting) == pytest.approx(1, abs=0.0006 * len(halting))
        films = [film.locator(".frame").count() for film in shown.locator(".film").all()]
        left = len(decision.happened)
        horizon = 5 if "dream" == name or "fixed" == name else 4
        assert films == [horizon] * sum(bool(step.dream) for step in decision.steps) + [left, left]
        candidates = sum(step.looked_at is not None for step in decision.steps)
        assert opened.page.evaluate(FRAMES) == {"pictures": 2 + candidates + sum(films), "blank": []}
    assert opened.page.locator("#next").is_disabled()


def test_keys_and_links_lead_through_the_decisions(visit: Callable[..., Visit], watched: Watched) -> None:
    lengths = [len(episode.decisions) for episode in watched("dream")[1]]
    opened = visit("dream")
    assert opened.at() == "#e=1&d=1" and opened.page.locator("#back").is_disabled()
    assert opened.press(*["ArrowRight"] * lengths[0]) == "#e=2&d=1"
    assert opened.page.locator(".timeline:visible").get_attribute("data-e") == "2"
    assert opened.press("ArrowLeft") == f"#e=1&d={lengths[0]}"
    opened.page.evaluate(f"location.hash = '#e=3&d={lengths[2]}'")
    assert f"episode 3 · decision {lengths[2]}" in opened.page.locator("#where").inner_text()
    opened.page.locator(".episodes a").nth(1).click()
    assert opened.at() == "#e=2&d=1"
    opened.page.locator(".timeline:visible a").nth(1).click()
    assert opened.at() == "#e=2&d=2"
    assert visit("dream", link="#e=2&d=2").at() == "#e=2&d=2"
    assert visit("dream", link="#e=9&d=<b>").at() == "#e=1&d=1"


def test_the_jumps_find_each_change_of_mind_and_each_surprise(visit: Callable[..., Visit], watched: Watched) -> None:
    episodes = copy.deepcopy(watched("dream")[1])
    links = [(d, f"#e={e}&d={d.number}") for e, episode in enumerate(episodes, 1) for d in episode.decisions]
    for i, (decision, _) in enumerate(links):
        decision.change, decision.surprise = (0.1 if i in (2, 4) else 0.09), float(i)
    opened = visit(content=write_page(_Named("press"), episodes, **ABOUT)[0])
    for key, found in (("m", (2, 4)), ("s", [i for i in range(len(links)) if i > 0.9 * (len(links) - 1)])):
        assert [opened.press(key) for _ in found] == [links[i][1] for i in found]
        assert opened.press(key) == links[found[0]][1]  # from the first one on again
    assert opened.page.locator(".timeline path.change").count() == 2


def test_space_plays_to_the_end(visit: Callable[..., Visit], watched: Watched) -> None:
    opened = visit("dreamer_v3")
    opened.page.clock.install()
    opened.page.reload()
    opened.press(" ")
    opened.page.clock.run_for(2100)
    assert opened.at() == "#e=1&d=3"
    opened.press(" ")
    opened.page.clock.run_for(5000)
    assert opened.at() == "#e=1&d=3"
    opened.press(" ")
    opened.page.clock.run_for(100_000)
    assert opened.at() == f"#e=3&d={len(watched('dreamer_v3')[1][-1].decisions)}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["dream", "dreamer_v3"])
def test_no_screen_scrolls_sideways(visit: Callable[..., Visit], name: str, width: int, scheme: str) -> None:
    opened = visit(name, viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened.page.locator("summary").click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    beyond = """[...document.querySelectorAll("body *")].filter((element) =>
      !element.closest(".film, .scroll") && element.getBoundingClientRect().right > innerWidth + 0.5).length"""
    assert opened.page.evaluate(beyond) == 0


def test_names_are_text_whatever_is_in_them(visit: Callable[..., Visit], watched: Watched) -> None:
    evil = "</script></title></style><script>document.title = 'hacked'</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    actions = _Named(evil)
    page, _ = write_page(
        actions,
        watched("dream")[1],
        title=evil,
        agent=evil,
        kind="dream",
        rule=evil,
        checkpoint=evil,
        seed=0,
        worlds=evil,
    )
    opened = visit(content=page)
    assert opened.page.title() == f"{evil}: {evil}"
    assert opened.page.locator("h1").inner_text() == evil
    assert evil in opened.page.locator(".heads p").first.inner_text()
    assert opened.page.locator("img").count() == 0


class _Named:
    """Actions that all have one name."""

    is_continuous, columns = False, None

    def __init__(self, name: str) -> None:
        self.names = [[name] * 9]

    def numbers(self, action: object) -> list[int]:
        return [0]

    def text(self, action: object) -> str:
        return self.names[0][0]
