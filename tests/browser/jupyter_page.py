"""JupyterLab in Chromium, used as a student uses it: it is started in a folder, a notebook is opened, its cells are run by the menu.

What is on the page is read from JupyterLab's own model, for a browser draws only the cells that are in view.
"""

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZE = {"width": 1366, "height": 768}  # the smallest screen that laptops have

# takes the kit's own installation away, which no student has, before the kernel begins
BARE = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', type(f).__module__)]"
KERNEL = "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
)  # fmt: skip

STATE = """() => {
    const panel = jupyterapp.shell.currentWidget;
    return {
        kernel: panel.sessionContext.session?.kernel?.status ?? "none",
        running: panel.content.widgets.filter(cell => cell.model.type == "code" && cell.model.executionState == "running").length,
        cells: panel.content.model.sharedModel.toJSON().cells,
    };
}"""
OPENED = "path => jupyterapp.shell.currentWidget?.context?.path.endsWith(path)"
BEGUN = """() => jupyterapp.shell.currentWidget.content.widgets.some(
    cell => cell.model.type == "code" && (cell.model.executionState == "running" || cell.model.executionCount))"""
USED = """async () => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const asked = kernel.requestExecute({code: "print(__import__('time').process_time())", store_history: false});
    let written = "";
    asked.onIOPub = message => { written += message.content.text ?? ""; };
    await asked.done;
    return parseFloat(written);
}"""
SCROLL = "place => jupyterapp.shell.currentWidget.content.scrollToItem(place, 'start')"


def missing() -> str:
    """Which of the parts that a look at the notebooks needs is not here; empty if none is."""
    absent = [name for name in ("playwright", "jupyterlab") if importlib.util.find_spec(name) is None]
    return ", ".join(absent + ([] if CHROMIUM else ["chromium"]))


@contextmanager
def served(folder: Path, own: Path, before: str = "", **variables: str) -> Iterator[str]:
    """Start JupyterLab in ``folder`` on a free port.

    Args:
        folder: What the student unpacked, or whatever folder Jupyter was started in.
        own: A new folder for settings and kernels, so that those of this machine play no part.
        before: Code that a kernel runs first: makes a machine that lacks something.
        **variables: More of the environment.

    Yields:
        The address of the server; ``{}`` stands for the path of a page.
    """
    spec = own / "data" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", "\n".join([BARE, before, KERNEL]), "-f", "{connection_file}"]
    quiet = own / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")  # its question covers a corner of the page
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SEGKIT_DATA", "SEGKIT_QUICK")}
    environment |= {name: str(own / name.lower()) for name in OWN_FOLDERS} | {"JUPYTER_PATH": str(own / "data")} | variables
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", f"--ServerApp.port={port}"]
    with open(own / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [*command, "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _until(lambda: _answers(f"http://127.0.0.1:{port}/api?token={token}"), 120, f"JupyterLab did not start: {own / 'server.log'}")
            yield f"http://127.0.0.1:{port}/{{}}?token={token}"
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):  # it ends its kernels first
                server.wait(60)
            server.kill()
            server.wait()


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False


def _until(true: Callable[[], Any], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} s: {otherwise}")
        time.sleep(0.3)


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A page of a fresh browser; ``options`` are those of a new page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, **options)
        page.set_default_timeout(120_000)
        yield page
        browser.close()


@dataclass
class Cell:
    """A cell as the page has it."""

    place: int
    kind: str
    grade_id: str
    source: str
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def written(self, stream: str) -> str:
        """What it wrote on ``stdout`` or ``stderr``; the latter stands in a red box."""
        return "".join("".join(output["text"]) for output in self.outputs if output.get("name") == stream)

    @property
    def error(self) -> str:
        """Name and text of the exception that a traceback is shown of; empty for none."""
        return "; ".join(f"{output['ename']}: {output['evalue']}" for output in self.outputs if output["output_type"] == "error")

    @property
    def kinds(self) -> set[str]:
        """Kinds of what it shows, such as ``image/png``."""
        return {kind for output in self.outputs for kind in output.get("data", {})}


class LabPage:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.first_ok = float("nan")  # seconds from running all cells to the first [ok], also where the rest took too long

    def open(self, path: str) -> "LabPage":
        """Open a notebook, and wait until the status bar says that its kernel is idle: what is run before that is not run at all."""
        self.page.goto(self.address.format(f"lab/tree/{path}") + "&reset")  # without the tabs of before, whose kernels would begin again
        self.page.wait_for_selector(".jp-Notebook:visible")  # those of other tabs are hidden
        self.page.wait_for_function(OPENED, arg=path)
        self.page.wait_for_selector('.jp-StatusBar-Widget :text-matches("\\\\| Idle$")')
        return self

    def menu(self, menu: str, entry: str) -> None:
        """Choose an entry of a menu."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=entry, exact=True).click()

    def run_all(self, seconds: float = 300) -> float:
        """Run all cells by the menu, and wait until none of them shows ``[*]``.

        Returns:
            Seconds until the first ``[ok]`` was to be read; NaN if there is none.
        """
        began, self.first_ok = time.monotonic(), float("nan")
        self.menu("Run", "Run All Cells")
        _until(lambda: self.page.evaluate(BEGUN), seconds, "no cell has begun to run")

        def done() -> bool:
            state = self.page.evaluate(STATE)
            if self.first_ok != self.first_ok and any("[ok]" in cell.written("stdout") for cell in _cells(state)):
                self.first_ok = time.monotonic() - began
            return state["running"] == 0 and state["kernel"] == "idle"

        _until(done, seconds, "cells are still running")
        return self.first_ok

    def cells(self) -> list[Cell]:
        """All cells with what they show."""
        return _cells(self.page.evaluate(STATE))

    def red_boxes(self) -> int:
        """How many boxes of stderr the page draws, of tracebacks too: each cell is brought into view, for others are not drawn."""
        most = 0
        for cell in self.cells():
            self.show(cell.place)
            most = max(most, self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count())
        return most

    def close(self) -> None:
        """Save the notebook and end its kernel."""
        self.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_timeout(1500)
        self.page.evaluate("jupyterapp.commands.execute('kernelmenu:shutdown')")

    def processor_seconds(self) -> float:
        """What the kernel took of the cores so far, which other work on the machine hardly changes."""
        return float(self.page.evaluate(USED))

    def show(self, place: int) -> None:
        """Scroll to a cell."""
        self.page.evaluate(SCROLL, place)
        self.page.wait_for_timeout(500)


def _cells(state: dict[str, Any]) -> list[Cell]:
    cells = enumerate(state["cells"])
    return [Cell(i, c["cell_type"], _grade_id(c), "".join(c["source"]), c.get("outputs", [])) for i, c in cells]


def _grade_id(cell: dict[str, Any]) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")
