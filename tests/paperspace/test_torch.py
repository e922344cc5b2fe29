"""Torch is the build that the GPU's driver serves, and no training starts on a torch that can't use the GPU.

The driver is a fake `nvidia-smi`; torch is a small package with torch's rules about drivers, in an index on loopback.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
INDEX = "https://download.pytorch.org/whl"
PINNED = re.search(r"^torch==(\S+)$", (REPO / "constraints.txt").read_text(), re.MULTILINE)[1]
# As drivers from 510 on answer: a line of values for each GPU; a plain call prints a table with the version in its head
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *compute_cap*) {compute_cap} ;;
  *driver_version*) echo 'NVIDIA RTX A4000, {driver}' ;;
  *) echo '| NVIDIA-SMI {driver}      Driver Version: {driver}   CUDA Version: 12.2     |' ;;
esac
"""
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
BROKEN = f"""#!/bin/sh
echo '{MISMATCH}'
exit 18
"""
# What torch does: a build that the driver doesn't serve imports, says that there is no GPU, and multiplies on the CPU
TORCH = """
import subprocess

__version__ = "{version}"


class version:
    cuda = "{cuda}"


class cuda:
    @staticmethod
    def is_available():
        run = subprocess.run(["nvidia-smi", "--query-gpu=driver_version"], capture_output=True, text=True)
        return run.returncode == 0 and float(run.stdout.split(", ")[1]) >= {oldest}

    @staticmethod
    def get_device_name():
        return "NVIDIA RTX A4000"


class Matrix:
    device = "cpu"

    def cuda(self):
        assert cuda.is_available()
        result = Matrix()
        result.device = "cuda"
        return result

    def cpu(self):
        return Matrix()

    def __matmul__(self, other):
        assert self.device == other.device
        return self


def rand(*shape):
    return Matrix()


class testing:
    @staticmethod
    def assert_close(left, right, rtol, atol):
        assert left.device == right.device == "cpu"
"""
BUILDS = [(f"{PINNED}", "13.0", 580), (f"{PINNED}+cu126", "12.6", 525), ("2.7.1+cu118", "11.8", 450)]


def nvidia_smi(folder: Path, driver: str, gpu: str = "8.6") -> None:
    """A driver, and GPUs of compute capabilities `gpu`."""
    lines = "; ".join(f"echo '{driver}, {capability}'" for capability in gpu.split())
    known = lines or "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2"
    program(folder / "nvidia-smi", NVIDIA_SMI.format(driver=driver, compute_cap=known))


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requirement: str = "") -> None:
    """A wheel of these files, in a folder that serves as the page of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirement}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        hashes = {
            path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()
        }
        lines = [f"{path},sha256={hashes[path].decode().rstrip('=')},{len(files[path])}" for path in files]
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))


@pytest.fixture
def drivers(tmp_path: Path) -> Path:
    """A folder for the front of PATH, with the driver's program."""
    folder = tmp_path / "drivers"
    folder.mkdir()
    return folder


@pytest.fixture
def torch_build(drivers: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Runs `scripts/torch-build`."""
    environment = {"PATH": f"{drivers}:/usr/bin:/bin"}
    command = [str(REPO / "scripts/torch-build")]
    return lambda: subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("driver", "gpu", "expected"),
    [
        ("580.65.06", "8.6", ""),
        ("610.10", "9.0", ""),
        ("580.65.06", "12.0", ""),
        ("575.57.08", "8.6", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("550.54.15", "9.0", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("535.183.01", "8.6", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("525.60.13", "8.0", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("570.124", "12.0", f"2.11.0+cu128 {INDEX}/cu128"),
        ("470.256.02", "8.6", f"2.7.1+cu118 {INDEX}/cu118"),
        ("515.105.01", "8.6", f"2.7.1+cu118 {INDEX}/cu118"),
        # CUDA 13 has no code for Maxwell, Pascal and Volta, however new the driver
        ("580.65.06", "5.2", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("580.65.06", "6.1", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("580.65.06", "7.0", f"{PINNED}+cu126 {INDEX}/cu126"),
        ("580.65.06", "8.6 6.1", f"{PINNED}+cu126 {INDEX}/cu126"),
        # Drivers that don't tell the capability
        ("470.256.02", "", f"2.7.1+cu118 {INDEX}/cu118"),
    ],
)
def test_the_build_that_a_driver_serves(
    drivers: Path, torch_build: Callable[[], subprocess.CompletedProcess[str]], driver: str, gpu: str, expected: str
) -> None:
    nvidia_smi(drivers, driver, gpu)
    result = torch_build()
    assert (result.returncode, result.stdout.strip()) == (0, expected), result.stderr


def test_without_an_nvidia_gpu_the_build_is_pypis(torch_build: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    assert (torch_build().returncode, torch_build().stdout) == (0, "")


@pytest.mark.parametrize(
    ("text", "why"), [(BROKEN, MISMATCH), ("#!/bin/sh\necho 440.33.01, 7.0\n", "serves the NVIDIA driver 440.33.01")]
)
def test_a_driver_that_serves_no_build_is_told(
    drivers: Path, torch_build: Callable[[], subprocess.CompletedProcess[str]], text: str, why: str
) -> None:
    program(drivers / "nvidia-smi", text)
    result = torch_build()
    assert (result.returncode, result.stdout) == (1, "") and why in result.stderr


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address, on loopback, of a server with a simple index in each folder: `pypi`, `cu126` and `cu118`."""
    for version, cuda, oldest in BUILDS:
        folder = tmp_path / "index" / (version.partition("+")[2] or "pypi") / "torch"
        wheel(folder, "torch", version, {"torch/__init__.py": TORCH.format(version=version, cuda=cuda, oldest=oldest)})

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "index")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# Builds the throwaway project without a package of the real index
BACKEND = """
import shutil

def build_editable(folder, settings=None, metadata=None):
    shutil.copy("wheels/project-1-py3-none-any.whl", folder)
    return "project-1-py3-none-any.whl"
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Project:
    """A throwaway project with our scripts and constraints, whose only dependency is torch."""

    def __init__(self, folder: Path, drivers: Path, index: str) -> None:
        self.folder = folder
        for name in ("scripts/setup", "scripts/help.sh", "scripts/torch-build", "infra/remote/gpu", "constraints.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, folder / name)
        build = folder / "scripts/torch-build"
        build.write_text(build.read_text().replace(INDEX, index))
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "backend.py").write_text(BACKEND)
        wheel(folder / "wheels", "project", "1", {}, "Requires-Dist: torch>=2.6\n")
        self.environment = {
            "PATH": f"{drivers}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{index}/pypi",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def setup(self) -> str:
        """Runs `scripts/setup`; what it said."""
        result = self.run("scripts/setup")
        assert result.returncode == 0, result.stderr
        return result.stderr

    def torch(self) -> str:
        """The version that is installed."""
        return self.run(".venv/bin/python", "-c", "import torch; print(torch.__version__)").stdout.strip()

    def gpu(self) -> tuple[int, str]:
        """What `infra/remote/gpu` says."""
        result = self.run("bash", "infra/remote/gpu", ".")
        return result.returncode, result.stdout


def test_setup_installs_the_build_that_the_driver_serves_and_follows_it(
    tmp_path: Path, drivers: Path, index: str
) -> None:
    project = Project(tmp_path / "project", drivers, index)
    nvidia_smi(drivers, "535.183")
    assert f"torch {PINNED}+cu126, of {index}/cu126" in project.setup()
    assert project.torch() == f"{PINNED}+cu126"
    multiplied = f"fine\ttorch {PINNED}+cu126 multiplies matrices on the NVIDIA RTX A4000\n"
    assert project.gpu() == (0, f"fine\tdriver: NVIDIA RTX A4000, 535.183\n{multiplied}")
    assert project.setup() == ""  # nothing to do

    program(drivers / "nvidia-smi", BROKEN)  # an upgrade: what is installed stays
    assert "Installing" not in project.setup() and project.torch() == f"{PINNED}+cu126"
    code, said = project.gpu()
    mismatch = "wrong\tthe driver was upgraded, and the old one still runs (Driver/library version mismatch)\t"
    assert (code, said) == (1, f"{mismatch}scripts/paperspace down, then up\n")

    nvidia_smi(drivers, "470.256")
    assert project.gpu()[0] == 1
    assert f"torch {PINNED}+cu126 (CUDA 12.6) sees no GPU; the driver wants torch 2.7.1+cu118\t" in project.gpu()[1]
    project.setup()
    assert project.torch() == "2.7.1+cu118" and project.gpu()[0] == 0

    nvidia_smi(drivers, "580.65")
    project.setup()
    assert project.torch() == PINNED and project.gpu()[0] == 0

    nvidia_smi(drivers, "470.256")  # what was installed once is not installed now
    project.setup()
    assert project.torch() == "2.7.1+cu118"


def test_pypis_build_on_an_older_driver_is_named_with_its_mend(tmp_path: Path, drivers: Path, index: str) -> None:
    project = Project(tmp_path / "project", drivers, index)
    project.setup()
    assert project.torch() == PINNED
    nvidia_smi(drivers, "550.54")
    code, said = project.gpu()
    assert code == 1
    assert f"torch {PINNED} (CUDA 13.0) sees no GPU; the driver wants torch {PINNED}+cu126" in said
    assert "scripts/paperspace bootstrap" in said
