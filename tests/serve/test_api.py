"""The API of a real server process: from an upload to the files, and what is refused."""

import http.client
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tiny_model
from gliodistill.cli.main import run
from gliodistill.images import read_labels, write_nifti
from served import TOKEN, Served


@pytest.fixture(scope="module")
def done(server: Served, files: dict[str, bytes]) -> dict:
    """A segmented study."""
    upload = server.upload(files)
    (found,) = server.look_into(upload)["studies"]
    job = server.wait(server.segment(upload, found["study"]))
    assert job["state"] == "done", job["error"]
    return job


def test_the_download_is_what_the_command_writes(
    server: Served, done: dict, study: Path, model: Path, tmp_path: Path
) -> None:
    assert (
        run(["segment", str(study), "-m", str(model), "-o", str(tmp_path), "--threads", "1"]) == 0
    )
    result = done["result"]
    status, content, headers = server.ask("GET", f"/api/v1/jobs/{done['id']}/files/anna.nii.gz")
    assert (status, content) == (200, (tmp_path / "anna.nii.gz").read_bytes())
    assert "attachment" in headers["content-disposition"]
    assert result["summary"]["volumes_ml"]["WT"] == pytest.approx(
        tiny_model.regions()[0].sum() / 1000, abs=1e-4
    )
    assert [name for name, _ in done["stages"]] == ["load", "read", "prepare", "infer", "write"]
    _, packed, _ = server.ask("GET", f"/api/v1/jobs/{done['id']}/archive")
    assert set(zipfile.ZipFile(io.BytesIO(packed)).namelist()) == set(result["files"])
    for image in ("T1", "labels", "probabilities"):
        assert server.ask("GET", f"/api/v1/jobs/{done['id']}/images/{image}.nii.gz")[0] == 200


def test_a_person_corrects_which_file_is_which(server: Served, files: dict[str, bytes]) -> None:
    renamed = {f"x/scan{number}.nii.gz": content for number, content in enumerate(files.values())}
    upload = server.upload(renamed)
    (found,) = server.look_into(upload)["studies"]
    assert found["chosen"] == {} and found["problems"]
    names = dict(
        zip(
            ("FLAIR", "T1", "T1CE", "T2"),
            sorted(one["key"] for one in found["series"]),
            strict=True,
        )
    )
    job = server.wait(server.segment(upload, found["study"], series=names))
    assert job["state"] == "done", job["error"]
    assert job["result"]["summary"]["sequences"]["used"] == names
    wrong = server.wait(server.segment(upload, found["study"], series={"T1": "scan9.nii.gz"}))
    assert "no such file" in wrong["error"]["message"]


def test_a_corrected_label_map_is_a_new_version_and_is_scored(
    server: Served, done: dict, tmp_path: Path
) -> None:
    _, content, _ = server.ask("GET", f"/api/v1/jobs/{done['id']}/files/anna.nii.gz")
    (tmp_path / "was.nii.gz").write_bytes(content)
    labels = read_labels(tmp_path / "was.nii.gz")
    labels.data[labels.data > 0] = 2
    write_nifti(labels, tmp_path / "now.nii.gz")
    upload = server.upload({"now.nii.gz": (tmp_path / "now.nii.gz").read_bytes()})
    asked = {"kind": "correct", "of": done["id"], "upload": upload}
    version = server.wait(server.api("POST", "/jobs", asked))
    assert version["state"] == "done", version["error"]
    assert version["result"]["summary"]["volumes_ml"]["TC"] == 0
    assert version["result"]["summary"]["corrected_by_hand"]
    asked = {"kind": "score", "of": done["id"], "other": version["id"]}
    scored = server.wait(server.api("POST", "/jobs", asked))
    assert scored["result"]["dice"]["WT"] == 1 and scored["result"]["dice"]["TC"] == 0
    reference = {"kind": "score", "of": done["id"], "upload": server.upload({"r.nii.gz": content})}
    scored = server.wait(server.api("POST", "/jobs", reference | {"labels": "brats2021"}))
    assert set(scored["result"]["dice"].values()) == {1.0}

    labels.data[0, 0, 0] = 9
    write_nifti(labels, tmp_path / "bad.nii.gz")
    for content, why in (
        ((tmp_path / "bad.nii.gz").read_bytes(), "unknown label codes"),
        (b"\x1f\x8b not a NIfTI", "bad.nii.gz"),
    ):
        upload = server.upload({"bad.nii.gz": content})
        asked = {"kind": "correct", "of": done["id"], "upload": upload}
        refused = server.wait(server.api("POST", "/jobs", asked))
        assert refused["state"] == "failed" and why in refused["error"]["message"]
        assert str(server.root) not in json.dumps(refused)


def test_the_same_key_is_the_same_job(server: Served, files: dict[str, bytes]) -> None:
    upload = server.upload(files)
    asked = {"kind": "segment", "upload": upload, "study": "anna"}
    key = {"Idempotency-Key": f"once {upload}"}
    first, again = (server.api("POST", "/jobs", asked, headers=key) for _ in range(2))
    assert first["id"] == again["id"]
    status, told, _ = server.ask("POST", "/api/v1/jobs", asked | {"study": "b"}, headers=key)
    assert status == 409 and "key" in told["error"]["message"]
    server.wait(first)
    assert server.ask("DELETE", f"/api/v1/jobs/{first['id']}")[0] == 204
    assert server.ask("GET", f"/api/v1/uploads/{upload}")[0] == 404
    left = [path for path in (server.root / "store").rglob("*") if upload in path.name]
    assert left == []


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({}, None, 401),
        ({}, "another", 401),
        ({"Host": "evil.example:80"}, TOKEN, 421),
        ({"Origin": "https://evil.example"}, TOKEN, 403),
        ({"Origin": "null"}, TOKEN, 403),
        ({"Cookie": "gliodistill_1=x"}, None, 401),
    ],
)
def test_strangers_are_refused(
    server: Served, headers: dict[str, str], token: str | None, status: int
) -> None:
    got, told, answered = server.ask("GET", "/api/v1/jobs", headers=headers, token=token)
    assert got == status and told["error"]["message"]
    assert "access-control-allow-origin" not in {name.lower() for name in answered}


def test_the_cookie_of_a_browser_lets_it_in_but_no_other_site(server: Served) -> None:
    _, _, told = server.ask("POST", "/api/v1/session", {"token": TOKEN}, token=None)
    assert "HttpOnly" in told["set-cookie"] and "SameSite=Strict" in told["set-cookie"]
    assert TOKEN not in told["set-cookie"]
    cookie = {"Cookie": told["set-cookie"].partition(";")[0]}
    assert server.ask("GET", "/api/v1/jobs", headers=cookie, token=None)[0] == 200
    assert server.ask("POST", "/api/v1/uploads", headers=cookie, token=None)[0] == 403
    mine = cookie | {"Origin": server.url}
    status, told, _ = server.ask("POST", "/api/v1/uploads", headers=mine, token=None)
    assert status == 201
    assert server.ask("DELETE", f"/api/v1/uploads/{told['id']}", headers=mine, token=None)[0] == 204
    assert server.ask("POST", "/api/v1/session", {"token": "guess"}, token=None)[0] == 401


def test_every_answer_carries_the_policy_and_no_script_in_the_page(server: Served) -> None:
    for path in ("/", "/api", "/web/main.js", "/api/v1/health", "/api/v1/nothing"):
        _, content, headers = server.ask("GET", path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        if path in ("/", "/api"):
            assert b"<script>" not in content and b"style=" not in content
            assert b"Research use" in content
    assert server.ask("GET", "/web/../app.py")[0] == 404
    assert server.ask("GET", "/web/%2e%2e/app.py")[0] == 404


@pytest.mark.parametrize(
    "name",
    [
        "../../../x.nii.gz",
        "/etc/passwd.nii",
        "..\\..\\x.nii",
        "a/\x00b/\u202egz.nii",
        "." * 300 + ".nii",
    ],
)
def test_a_name_never_leaves_the_folder_of_its_upload(server: Served, name: str) -> None:
    before = {path for path in server.root.parent.rglob("*") if "store" not in path.parts}
    upload = server.upload({name: b"nothing"})
    store = server.root / "store" / "uploads" / upload
    written = [
        path for path in store.rglob("*") if path.is_file() and path.read_bytes() == b"nothing"
    ]
    assert len(written) == 1 and written[0].name.endswith((".nii", ".nii.gz"))
    after = {path for path in server.root.parent.rglob("*") if "store" not in path.parts}
    assert before == after
    server.api("DELETE", f"/uploads/{upload}")


def test_hostile_archives_and_files_end_in_a_sentence_without_paths(server: Served) -> None:
    climbing, bomb = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("IM1")
        archive.writestr(info, bytes(1 << 20))
    damaged = climbing.getvalue()[:-30]
    for content, why in (
        (climbing.getvalue(), "leave its folder"),
        (damaged, "damaged zip"),
        (bomb.getvalue(), "no DICOM"),
        (b"PK nonsense", "damaged zip"),
    ):
        upload = server.upload({"export.zip": content})
        (failed,) = server.look_into(upload)["failed"]
        assert why in failed["message"]
        assert str(server.root) not in json.dumps(failed) and "/tmp" not in failed["message"]
    upload = server.upload({"notes.txt": b"hello"})
    assert "no DICOM" in server.look_into(upload)["failed"][0]["message"]
    assert not list(server.root.rglob("evil*"))


def test_requests_are_bounded(server: Served) -> None:
    big = b"{" + b" " * 70_000 + b"}"
    status, told, _ = server.ask(
        "POST", "/api/v1/jobs", body=big, headers={"Content-Type": "application/json"}
    )
    assert status == 413 and told["error"]["message"]
    for asked in ({}, {"kind": "segment"}, {"kind": "shell"}, {"kind": "segment", "more": 1}, []):
        status, told, _ = server.ask("POST", "/api/v1/jobs", asked)
        assert status == 422 and told["error"]["message"]
    assert server.ask("GET", "/api/v1/jobs/../../etc")[0] == 404
    assert server.ask("GET", "/api/v1/jobs/0123456789abcdef")[0] == 404


def test_events_go_on_from_a_revision(server: Served, done: dict) -> None:
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    link.request(
        "GET",
        "/api/v1/events",
        headers={"Authorization": f"Bearer {TOKEN}", "Last-Event-ID": str(done["revision"] - 1)},
    )
    answer = link.getresponse()
    lines = [answer.readline().decode().strip() for _ in range(3)]
    link.close()
    assert lines[0] == f"id: {done['revision']}" and lines[1] == "event: job"
    assert json.loads(lines[2].removeprefix("data: "))["id"] == done["id"]


def test_health_metrics_models_and_the_description(server: Served, model: Path) -> None:
    status, told, _ = server.ask("GET", "/api/v1/health", token=None)
    assert status == 200 and told["ok"]
    _, text, _ = server.ask("GET", "/api/v1/metrics")
    assert b'gliodistill_jobs{state="done"}' in text
    assert server.api("GET", "/models")["models"] == [str(model), "glioma"]
    paths = server.api("GET", "/openapi.json")["paths"]
    assert {"/api/v1/jobs", "/api/v1/uploads", "/api/v1/events"} <= set(paths)


def test_labels_of_the_tiny_model_are_those_of_the_convention(done: dict) -> None:
    assert np.all([int(code) > 0 for code in done["result"]["summary"]["labels"]["codes"]])
