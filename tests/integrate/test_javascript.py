"""The JavaScript of docs/integrate: its drawing in Node.js, all of it in headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.ink_file import read_ink
from inktex.core.manifest import Preprocessing
from inktex.core.preparation import prepare_image
from inktex.core.rendering import CANONICAL, Rendering
from inktex.export.checkpoint_bundle import export_bundle
from inktex.runtimes import DEFAULT_BUNDLE, load
from inktex.training.preprocessing import preprocessing

from ..conftest import REPOSITORY
from ..core.real_ink import sampled
from ..training import recurrent, synthetic

JAVASCRIPT = REPOSITORY / "docs" / "integrate" / "javascript"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.inkml"))
ONNXRUNTIME_WEB = "1.30.0"

Strokes = list[NDArray[np.float64]]

COMPARE = """
import { preparedImage } from MODULE;
const cases = JSON.parse(await new Promise((done) => {
  let text = ""; process.stdin.on("data", (part) => { text += part; }).on("end", () => done(text));
}));
console.log(JSON.stringify(cases.map(({ strokes, parameters }) => {
  const { height, width, values } = preparedImage(strokes, parameters);
  return { height, width, values: [...values].map((value) => Math.round(value * 255)) };
})));
"""

PAGE = """<!doctype html><script type="module">
  import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.mjs";
  import { Recognizer } from "./inktex.js";
  ort.env.wasm.numThreads = 1;
  let found;
  try {
    const { bundles, formulas } = await (await fetch("./cases.json")).json();
    found = [];
    for (const bundle of bundles) {
      const recognizer = await Recognizer.load(ort, bundle);
      for (const strokes of formulas) found.push(await recognizer.read(strokes));
    }
  } catch (error) { found = `${error}\\n${error.stack}`; }
  await fetch("./found", { method: "POST", body: JSON.stringify(found) });
</script>"""


def missing(what: str) -> None:
    """Skip, or fail where continuous integration wants the browser (INKTEX_REQUIRE_BROWSER=1)."""
    if os.environ.get("INKTEX_REQUIRE_BROWSER") == "1":
        pytest.fail(what)
    pytest.skip(what)


def program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        missing(f"needs {names[0]}, found none")
    assert found is not None
    return found


def as_drawn_by_node(cases: list[tuple[Strokes, Preprocessing]]) -> list[NDArray[np.uint8]]:
    told = [
        {"strokes": [stroke.tolist() for stroke in strokes], "parameters": dict(each.parameters)}
        for strokes, each in cases
    ]
    script = COMPARE.replace("MODULE", json.dumps((JAVASCRIPT / "inktex.js").as_uri()))
    done = subprocess.run(
        [program("node"), "--input-type=module", "-e", script],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [
        np.array(each["values"], np.uint8).reshape(each["height"], each["width"])
        for each in json.loads(done.stdout)
    ]


def assert_drawn_alike(cases: list[tuple[Strokes, Preprocessing]]) -> None:
    for (strokes, each), found in zip(cases, as_drawn_by_node(cases), strict=True):
        wanted = np.rint(prepare_image(strokes, each)[0, 0] * 255).astype(np.uint8)
        np.testing.assert_array_equal(found, wanted)


def test_every_pixel_is_that_of_the_recognizer() -> None:
    dot, bar = [np.array([[3.0, 4.0]])], [np.array([[0.0, 5.0], [40.0, 5.5]])]
    wide = [np.array([[0.0, 0.0], [1.0, 20.0]]), np.array([[9000.0, 0.0], [9000.0, 15.0]])]
    begun = [np.empty((0, 2)), *bar]
    formulas: list[Strokes] = [dot, bar, wide, begun]
    formulas += [list(read_ink(path.read_bytes(), path.name).strokes) for path in EXAMPLES]
    # four times the last two pens is a tie
    renderings = (Rendering(), CANONICAL, Rendering(21.5, 2.125), Rendering(20, 1.875))
    assert_drawn_alike([(each, preprocessing(one)) for each in formulas for one in renderings])


@pytest.mark.parametrize(
    ("strokes", "said"),
    [
        ("[]", "at least one stroke"),
        ("[[]]", "at least one stroke"),
        ("[[[0, 0], [NaN, 1]]]", "in numbers within"),
        ("[[[0, 0], [1e308, -1e308]]]", "in numbers within"),
        ("[[[0, 0], [7]]]", "in numbers within"),
    ],
)
def test_what_is_no_ink_is_told(strokes: str, said: str) -> None:
    module = json.dumps((JAVASCRIPT / "inktex.js").as_uri())
    script = f"import * as inktex from {module}; inktex.normalizedStrokes({strokes}, 20)"
    done = subprocess.run(
        [program("node"), "--input-type=module", "-e", script], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("version", "name", "said"),
    [
        (1, "normalised-ink", ""),
        (2, "normalised-ink", "format version 1, found 2"),
        (1, "normalised-ink-and-trail", "found normalised-ink-and-trail"),
    ],
)
def test_bundles_of_another_kind_are_refused(version: int, name: str, said: str) -> None:
    module = json.dumps((JAVASCRIPT / "inktex.js").as_uri())
    manifest = json.dumps({"format_version": version, "preprocessing": {"name": name}})
    script = f"import * as inktex from {module}; inktex.checkManifest({manifest})"
    done = subprocess.run(
        [program("node"), "--input-type=module", "-e", script], capture_output=True, text=True
    )
    assert done.returncode == bool(said)
    assert said in done.stderr


def test_every_pixel_of_real_ink(data_root: Path) -> None:
    settings = preprocessing(Rendering())
    assert_drawn_alike([(list(each), settings) for each in sampled(data_root, "2016", 11, 100)])


@pytest.fixture(scope="module")
def onnxruntime_web() -> Path:
    """The files of the official package, installed once into the build folder."""
    home = REPOSITORY / "build" / f"onnxruntime-web-{ONNXRUNTIME_WEB}"
    files = home / "node_modules" / "onnxruntime-web" / "dist"
    if not files.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        wanted = f"onnxruntime-web@{ONNXRUNTIME_WEB}"
        command = [program("npm"), "install", "--no-audit", "--no-fund", "--prefix", str(home)]
        done = subprocess.run([*command, wanted], capture_output=True, text=True, timeout=300)
        if done.returncode:
            missing(f"needs {wanted}: {done.stderr.strip()[-200:]}")
    return files


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and takes what the page found."""

    def __init__(self, *arguments: Any, found: Queue[Any], **options: Any) -> None:
        self.found = found
        kinds = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm"}
        self.extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **kinds}
        super().__init__(*arguments, **options)

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


def test_the_browser_reads_as_this_machine_does(tmp_path: Path, onnxruntime_web: Path) -> None:
    """The bundle that comes with inktex, one as it is exported now, and a recurrent one."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    site = tmp_path / "site"
    site.mkdir()
    (site / "onnxruntime-web").symlink_to(onnxruntime_web)
    (site / "inktex.js").symlink_to(JAVASCRIPT / "inktex.js")
    bundles = [
        DEFAULT_BUNDLE,
        export_bundle(synthetic.checkpoint(), tmp_path / "edge").path,
        export_bundle(recurrent.checkpoint("abm"), tmp_path / "abm").path,
    ]
    for number, path in enumerate(bundles):
        (site / f"bundle-{number}").symlink_to(path)
    formulas = [list(read_ink(path.read_bytes(), path.name).strokes) for path in EXAMPLES]
    cases = {
        "bundles": [f"./bundle-{number}/" for number in range(len(bundles))],
        "formulas": [[stroke.tolist() for stroke in formula] for formula in formulas],
    }
    (site / "cases.json").write_text(json.dumps(cases))
    (site / "page.html").write_text(PAGE)
    found: Queue[Any] = Queue()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(site), found=found)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = subprocess.Popen(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"),
            f"http://127.0.0.1:{server.server_port}/page.html",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answers = found.get(timeout=120)
    except Empty:
        pytest.fail("the page gave no answer within two minutes")
    finally:
        browser.kill()
        browser.wait()
        server.shutdown()
        server.server_close()
    assert isinstance(answers, list), answers
    wanted = []
    for path in bundles:
        recognizer = load(path)
        vocabulary = recognizer.manifest.vocabulary
        for formula in formulas:
            expected = recognizer(formula, beam=1, constrain=False)
            written = [expected.tokens[place] for place in vocabulary.written(expected.tokens)]
            wanted.append((written, expected.confidence))
    assert len(answers) == len(wanted) == len(bundles) * len(EXAMPLES)
    for answer, (written, confidence) in zip(answers, wanted, strict=True):
        assert answer["tokens"] == written
        assert answer["confidence"] == pytest.approx(confidence, rel=0.02)
