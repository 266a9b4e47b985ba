"""The page in a real browser: upload, correct, watch, read, paint, save, cancel, reload."""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headless import Browser, find_browser
from served import TOKEN, Served

pytestmark = pytest.mark.slow

READY = "document.querySelector('canvas')?.dataset.ready === 'yes'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium is installed")
    shown = Browser(program, tmp_path_factory.mktemp("profile"), webgl=True)
    yield shown
    shown.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which is fetched for the test alone."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    done = npm and subprocess.run(
        [npm, "pack", "axe-core@4.14.1"], cwd=folder, capture_output=True, timeout=60
    )
    if not done or done.returncode:
        pytest.skip("axe-core cannot be fetched here (npm)")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def picture(browser: Browser, folder: Path) -> np.ndarray:
    """What the first canvas shows (Y X 3, uint8)."""
    browser.run("document.querySelector('canvas').scrollIntoView()")
    place = browser.run(
        "(r => [r.x + scrollX, r.y + scrollY, r.width, r.height])"
        "(document.querySelector('canvas').getBoundingClientRect())"
    )
    shot = Image.open(io.BytesIO(browser.screenshot(folder / "shot.png").read_bytes()))
    left, top, width, height = (int(value) for value in place)
    return np.asarray(shot.convert("RGB"))[top : top + height, left : left + width].astype(int)


def found_by(browser: Browser, axe: str) -> list[str]:
    """Serious findings of axe-core on what is shown."""
    browser.run(f"{axe}; 0")
    browser.run("axe.run().then((r) => { window.axeTold = JSON.stringify(r.violations); }); 0")
    told = json.loads(browser.until("window.axeTold"))
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}"
        for one in told
        if one["impact"] in ("serious", "critical")
    ]


def choose(browser: Browser, selector: str, value: str) -> None:
    """As a person who changes a control."""
    element = f"document.querySelector({json.dumps(selector)})"
    browser.run(
        f"(e => {{ e.value = {json.dumps(value)}; for (const kind of ['input', 'change'])"
        f" e.dispatchEvent(new Event(kind)); }})({element})"
    )


def test_from_the_drop_to_a_corrected_version(
    browser: Browser, server: Served, study: Path, axe: str, tmp_path: Path
) -> None:
    browser.open(f"{server.url}/#token={TOKEN}")
    browser.until("!document.getElementById('home').hidden")
    assert browser.run("location.hash") == ""
    browser.choose_files("#pick-files", sorted(study.iterdir()))
    browser.until("document.querySelector('#recognised table')")
    assert found_by(browser, axe) == []
    choose(browser, "[data-series='anna_t1.nii.gz']", "T2")
    assert "T2 is chosen twice" in browser.run("document.querySelector('#recognised').textContent")
    choose(browser, "[data-series='anna_t2.nii.gz']", "T1")
    earlier = json.dumps([job["id"] for job in server.api("GET", "/jobs")["jobs"]])
    browser.click("#recognised .primary")
    row = browser.until(
        "[...document.querySelectorAll('.job.done')].map((one) => one.dataset.id)"
        f".find((id) => !{earlier}.includes(id))"
    )
    told = server.api("GET", f"/jobs/{row}")
    assert told["asked"]["series"] == {
        "T1": "anna_t2.nii.gz", "T2": "anna_t1.nii.gz",
        "T1CE": "anna_t1ce.nii.gz", "FLAIR": "anna_flair.nii.gz",
    }  # fmt: skip

    browser.click(f"[data-id='{row}'] a")
    browser.until(READY)
    assert "ml" in browser.run("document.querySelector('.facts').textContent")
    assert "Research use" in browser.run("document.querySelector('header').textContent")
    assert found_by(browser, axe) == []
    filled = picture(browser, tmp_path)
    assert filled.std() > 5  # not blank
    choose(browser, "#opacity", "0")
    browser.run("document.querySelector('#outline').click()")
    empty = picture(browser, tmp_path)
    choose(browser, "#opacity", "1")
    full = picture(browser, tmp_path)
    coloured = [int(np.count_nonzero(np.ptp(one, axis=2) > 60)) for one in (empty, full)]
    assert coloured[1] > coloured[0] + 50, coloured
    choose(browser, "#probability", "WT")
    browser.until("gliodistillView.view.volumes.some((one) => one.name.startsWith('prob'))")
    choose(browser, "#probability", "")

    browser.click("[data-value=brush]")
    browser.until("gliodistillView.view.drawBitmap?.some((one) => one > 0)")
    before = browser.run("gliodistillView.view.drawBitmap.reduce((n, one) => n + (one > 0), 0)")
    choose(browser, "#layout", "axial")
    browser.run("document.querySelector('canvas').scrollIntoView()")
    browser.drag("canvas", (0.45, 0.45), (0.62, 0.6))
    after = browser.run("gliodistillView.view.drawBitmap.reduce((n, one) => n + (one > 0), 0)")
    assert after > before
    browser.click("#save")
    browser.until("document.querySelectorAll('.versions button').length === 1")
    (version,) = [
        job for job in server.api("GET", "/jobs")["jobs"]
        if job["kind"] == "correct" and job["asked"]["of"] == row
    ]  # fmt: skip
    summary = version["result"]["summary"]
    assert summary["voxels_changed"] >= after - before  # some had another tissue
    assert summary["volumes_ml"]["WT"] == pytest.approx(after / 1000)

    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith((server.url, "blob:"))] == []
    browser.open(f"{server.url}/#job/{row}", 390, 840, dark=True)
    browser.until(READY)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert found_by(browser, axe) == []


def test_many_studies_reload_and_cancel(
    browser: Browser, server: Served, files: dict[str, bytes]
) -> None:
    upload = server.upload(files)
    (found,) = server.look_into(upload)["studies"]
    browser.open(f"{server.url}/#token={TOKEN}")
    browser.until("!document.getElementById('home').hidden")
    jobs = [server.segment(upload, found["study"]) for _ in range(50)]
    browser.until(f"document.querySelector('[data-id=\"{jobs[-1]['id']}\"]')")
    browser.open(server.url)  # in the middle
    last = f'[data-id="{jobs[-1]["id"]}"]'
    browser.until(f"document.querySelector('{last}')")
    browser.run(f"document.querySelector('{last} button').click()")
    ended = [server.wait(job)["state"] for job in jobs]
    assert ended == ["done"] * 49 + ["cancelled"]
    browser.until(f"document.querySelector('{last}').classList.contains('cancelled')")
    browser.until("document.querySelectorAll('.job.done').length >= 49")


def test_a_second_browser_without_the_token_sees_nothing(server: Served, tmp_path: Path) -> None:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium is installed")
    stranger = Browser(program, tmp_path / "profile")
    try:
        stranger.open(server.url)
        stranger.until("!document.getElementById('locked').hidden")
        assert stranger.run("document.getElementById('home').hidden")
        assert stranger.run("document.querySelectorAll('.job').length") == 0
        stranger.open(f"{server.url}/#token=guess")
        stranger.until("!document.getElementById('locked').hidden")
    finally:
        stranger.close()
