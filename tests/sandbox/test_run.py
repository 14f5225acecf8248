"""A run from its order to its artifact, and every way in which it can fail: named, bounded, nothing lost."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
from pathlib import Path

import pytest

from runtime.model import Outcome, Refused, Verified
from runtime.sandbox import artifact as artifacts
from runtime.sandbox.promote import promote
from tests.sandbox.making import MIB, Workshop, a_repository, commit, git

FIX = ["sh", "-c", "echo 42 > answer.txt"]
CHECK = ["sh", "-c", "test $(cat answer.txt) = 42"]


def test_a_change_is_verified_in_a_fresh_sandbox_and_kept(workshop: Workshop) -> None:
    ended = workshop.run(FIX, verify=[["sh", "-c", "test ! -e /tmp/left-by-agent"], CHECK])
    assert (ended.state.outcome, ended.state.verified, ended.state.message) == (
        Outcome.SUCCEEDED,
        Verified.PASSED,
        None,
    )
    manifest = ended.manifest
    assert manifest["paths"] == ["answer.txt"]
    assert (manifest["files"], manifest["insertions"], manifest["deletions"]) == (1, 1, 1)
    assert [step["exit_code"] for step in manifest["verify"]] == [0, 0]
    assert "-41\n+42\n" in ended.patch


def test_the_artifact_is_named_by_its_manifest_which_vouches_for_every_file(shop: Workshop) -> None:
    ended = shop.run(FIX, verify=[CHECK])
    data = (ended.artifact / "manifest.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == ended.state.artifact_id
    contents = json.loads(data)["contents"]
    assert set(contents) == {path.name for path in ended.artifact.iterdir()} - {"manifest.json"}
    kept = artifacts.load(ended.places, ended.artifact.name)
    assert artifacts.check(kept) == []
    (ended.artifact / "patch.diff").write_text("another")
    assert artifacts.check(kept) == ["patch.diff is not the file that was kept"]
    (ended.artifact / "manifest.json").write_bytes(data.replace(b"answer.txt", b"anxwer.txt"))
    with pytest.raises(artifacts.DamagedArtifact):
        artifacts.load(ended.places, ended.artifact.name)


def test_bundle_and_patch_both_lead_from_the_base_to_the_same_tree(shop: Workshop, tmp_path: Path) -> None:
    ended = shop.run(
        [
            "sh",
            "-c",
            "rm sub/deep.txt; mkdir answer; mv answer.txt answer/; printf 'a\\0b' > bin; chmod 755 bin",
        ]
    )
    by_bundle = tmp_path / "bundle"
    git(tmp_path, "clone", "--quiet", str(shop.repo), str(by_bundle))
    git(by_bundle, "fetch", "--quiet", str(ended.artifact / "change.bundle"), "refs/heads/joelclaw-run")
    assert git(by_bundle, "rev-parse", "FETCH_HEAD^{tree}").strip() == ended.manifest["tree_sha"]
    assert git(by_bundle, "rev-parse", "FETCH_HEAD").strip() == ended.manifest["commit"]
    by_patch = tmp_path / "patch"
    git(tmp_path, "clone", "--quiet", str(shop.repo), str(by_patch))
    git(by_patch, "apply", "--index", str(ended.artifact / "patch.diff"))
    assert git(by_patch, "write-tree").strip() == ended.manifest["tree_sha"]
    assert "100755" in git(by_bundle, "ls-tree", "FETCH_HEAD", "bin")


def test_payload_arrives_as_file_and_on_standard_input(workshop: Workshop) -> None:
    ended = workshop.run(
        ["sh", "-c", 'cat > stdin; cp "$JOELCLAW_PAYLOAD" file; echo $JOELCLAW_BASE > base'],
        payload='{"é":[1]}',
    )
    assert ended.patch.count('+{"é":[1]}') == 2
    assert ended.manifest["base_sha"] in ended.patch


def test_payload_and_failures_are_files_for_this_run_only(workshop: Workshop) -> None:
    """The variables are paths, as they are for the other handlers; the verification has them too."""
    script = 'test "$(stat -c %a:%u "$JOELCLAW_PAYLOAD" "$JOELCLAW_FAILURES" | sort -u)" = "400:$(id -u)" && cat "$JOELCLAW_PAYLOAD" "$JOELCLAW_FAILURES"'
    ended = workshop.run(["sh", "-c", script], verify=[["sh", "-c", script]])
    assert (ended.log, ended.text("verify-1.log")) == ('{"n":1}[]', '{"n":1}[]')


def test_variables_arrive_in_a_sandbox_whatever_their_names_are(workshop: Workshop) -> None:
    env = {"my.dotted": "1", "MY-DASH": "2", "größe": "3", "PYTHONUNBUFFERED": "1", "PYTHONPATH": "/x"}
    secret = "s3cret-" + "q" * 10
    ended = workshop.run(["cat", "/proc/self/environ"], env=env, secrets={"secret.key": secret})
    told = dict(one.split("=", 1) for one in ended.log.split("\0") if one)
    assert {name: told.get(name) for name in env} == env
    assert told["secret.key"] == "***"


def test_a_run_that_changes_nothing_succeeds_without_patch_or_bundle(shop: Workshop) -> None:
    ended = shop.run(["true"], verify=[["true"]])
    assert (ended.state.outcome, ended.state.verified) == (Outcome.SUCCEEDED, Verified.PASSED)
    assert ended.manifest["commit"] is None
    assert not {"patch.diff", "change.bundle"} & set(ended.manifest["contents"])


def test_without_verification_nothing_is_said_to_be_verified(shop: Workshop) -> None:
    assert shop.run(FIX).state.verified is Verified.ABSENT


def test_an_exact_base_is_checked_out_also_when_the_branch_has_moved_on(shop: Workshop) -> None:
    first = git(shop.repo, "rev-parse", "HEAD").strip()
    git(shop.repo, "tag", "v1")
    commit(shop.repo, {"later.txt": "later\n"})
    for base in (first, "v1", first[:10]):
        ended = shop.run(["sh", "-c", "ls > listing"], base=base)
        assert ended.manifest["base_sha"] == first
        assert "later.txt" not in ended.patch
    assert "later.txt" in shop.run(["sh", "-c", "ls > listing"]).patch


def test_ignored_files_are_not_part_of_the_change(shop: Workshop) -> None:
    commit(shop.repo, {".gitignore": "build/\n*.pyc\n"})
    ended = shop.run(
        [
            "sh",
            "-c",
            "mkdir build sub/x; touch build/a sub/x/b.pyc sub/x/kept ':(glob)x'; echo 42 > answer.txt",
        ]
    )
    assert ended.manifest["paths"] == [":(glob)x", "answer.txt", "sub/x/kept"]


def test_only_files_are_asked_what_is_ignored(shop: Workshop) -> None:
    """A pipe of that name would hold Git up for ever, and a link would be followed."""
    commit(shop.repo, {".gitignore": "*.pyc\n"})
    ended = shop.run(
        [
            "sh",
            "-c",
            "mkfifo sub/.gitignore; touch sub/x sub/x.pyc; mkdir in in/deep dir link; mkdir dir/.gitignore; "
            "echo hidden > in/deep/.gitignore; touch in/deep/hidden in/deep/seen; echo '*' > /tmp/all; "
            "ln -s deep/.gitignore in/.gitignore; touch in/hidden",
        ],
        timeout_s=20.0,
    )
    assert ended.state.outcome is Outcome.SUCCEEDED, ended.state.message
    assert ended.manifest["paths"] == [
        "in/.gitignore", "in/deep/.gitignore", "in/deep/seen", "in/hidden", "sub/x",
    ]  # fmt: skip
    assert ended.manifest["left_out"] == ["sub/.gitignore: it is neither file, folder nor link"]


def test_gitignore_files_with_holes_do_not_fill_our_disk(shop: Workshop) -> None:
    ended = shop.python(
        "import os\nfor n in range(70):\n os.mkdir(f'd{n}')\n"
        " with open(f'd{n}/.gitignore', 'w') as f: f.truncate(2**20)"
    )
    assert "64.0 MiB of .gitignore files" in (ended.state.message or "")


# --- failures


def test_a_change_that_git_refuses_is_kept_as_a_patch_but_not_as_a_commit(workshop: Workshop) -> None:
    text = '[submodule "a"]\n\tpath = a\n\turl = -oops\n'
    ended = workshop.python(f"open('.gitmodules', 'w').write({text!r})", verify=[["true"]])
    assert (ended.state.outcome, ended.state.verified) == (Outcome.FAILED, Verified.FAILED)
    assert (ended.state.message or "").startswith("Git refuses the change: ")
    assert "gitmodulesUrl" in (ended.state.message or "")
    assert "url = -oops" in ended.patch
    manifest = ended.manifest
    assert (manifest["commit"], manifest["verified"]) == (None, "failed")
    assert manifest["failure"] == ended.state.message
    assert {"patch.diff", "agent.log"} <= set(manifest["contents"])
    assert "change.bundle" not in manifest["contents"]
    with pytest.raises(Refused):
        promote(
            ended.places,
            ended.artifact.name,
            None,
            unverified=True,
            actor="ada",
            seen="",
            reason=None,
            now=lambda: 1.0,
        )


def test_an_agent_that_fails_is_named_and_its_change_is_kept(workshop: Workshop) -> None:
    ended = workshop.run(["sh", "-c", "echo 42 > answer.txt; echo 'no luck' >&2; exit 3"], verify=[CHECK])
    assert ended.state.outcome is Outcome.FAILED
    assert ended.state.message == "agent exited with 3: no luck"
    assert ended.state.verified is Verified.ABSENT
    assert "+42" in ended.patch


def test_an_exit_code_is_not_a_verdict(shop: Workshop) -> None:
    ended = shop.run(["sh", "-c", "echo 43 > answer.txt"], verify=[["true"], CHECK, ["true"]])
    assert ended.manifest["agent_exit"] == 0
    assert (ended.state.outcome, ended.state.verified) == (Outcome.FAILED, Verified.FAILED)
    assert ended.state.message == "verification failed: sh exited with 1"
    assert [step["exit_code"] for step in ended.manifest["verify"]] == [0, 1]


def test_an_agent_that_is_not_there_is_named(shop: Workshop) -> None:
    ended = shop.run(["no-such-agent"])
    assert ended.state.outcome is Outcome.FAILED
    assert "no-such-agent" in (ended.state.message or "")


def test_one_budget_covers_agent_and_verification(shop: Workshop) -> None:
    ended = shop.run(["sleep", "1.5"], verify=[["sleep", "100"]], timeout_s=3.0)
    assert ended.state.message == "timed out in phase verify after 3 s in all"
    assert ended.state.verified is Verified.FAILED


def test_an_agent_that_hangs_is_ended_and_nothing_of_it_is_left(workshop: Workshop) -> None:
    marker = str(secrets.randbelow(10**6) + 10**8)  # another run of these tests may go on beside this one
    agent = f"setsid sleep {marker}1 & trap '' TERM; sleep {marker}2"
    ended = workshop.run(["sh", "-c", agent], timeout_s=1.5)
    assert ended.state.message == "timed out in phase agent after 1.5 s in all"
    assert (
        marker not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout.decode()
    )


def test_children_that_the_agent_leaves_do_not_hold_the_run(workshop: Workshop) -> None:
    ended = workshop.run(["sh", "-c", "setsid sleep 87654 & echo 42 > answer.txt"], verify=[CHECK])
    assert ended.state.outcome is Outcome.SUCCEEDED
    assert (
        "87654" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout.decode()
    )


def test_a_tree_that_does_not_fit_is_named_before_the_agent_starts(shop: Workshop) -> None:
    commit(shop.repo, {"big.bin": "x" * (3 * MIB)})
    ended = shop.run(FIX, disk=2 * MIB)
    assert ended.state.agent_starts == 0
    assert "disk limit 2.0 MiB hit while the tree was checked out" in (ended.state.message or "")


def test_a_flood_of_output_is_kept_with_its_beginning_and_end(shop: Workshop) -> None:
    ended = shop.python("print('first'); [print('x'*99) for _ in range(50_000)]; print('last')")
    assert len(ended.log) < 2 * MIB
    assert ended.log.startswith("first\n")
    assert ended.log.endswith("last\n")
    assert "bytes left out" in ended.log


def test_a_change_larger_than_an_artifact_is_refused_by_name(shop: Workshop) -> None:
    ended = shop.python("[open(f'f{n}', 'w').close() for n in range(20_500)]", disk=128 * MIB)
    assert ended.state.outcome is Outcome.FAILED
    assert "an artifact holds 20,000 files" in (ended.state.message or "")


def test_mounts_are_shown_read_only(workshop: Workshop) -> None:
    tool = workshop.folder / "opt" / "tool"
    tool.mkdir(parents=True)
    (tool / "version").write_text("7\n")
    ended = workshop.run(
        ["sh", "-c", f"cat {tool}/version; echo x > {tool}/version || echo refused"], mounts=[str(tool)]
    )
    assert "7\n" in ended.log
    assert "refused" in ended.log
    assert (tool / "version").read_text() == "7\n"


def test_a_mount_that_would_show_our_own_state_is_refused(shop: Workshop) -> None:
    ended = shop.run(FIX, mounts=[str(shop.folder)])
    assert "would show the agent this system's own state" in (ended.state.message or "")
    assert ended.state.agent_starts == 0


def test_a_repository_of_the_other_object_format_works(shop: Workshop) -> None:
    shop.repo = shop.folder / "sha256"
    shop.repo.mkdir()
    git(shop.repo, "init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    commit(shop.repo, {"answer.txt": "41\n"})
    ended = shop.run(FIX, verify=[CHECK])
    assert ended.state.verified is Verified.PASSED
    assert len(ended.manifest["base_sha"]) == 64


def test_two_repositories_do_not_share_a_mirror(shop: Workshop) -> None:
    shop.run(FIX)
    shop.repo = a_repository(shop.folder / "second", {"other.txt": "1\n"})
    assert shop.run(["sh", "-c", "ls > listing"]).manifest["paths"] == ["listing"]
    assert len(list(shop.places.mirrors.glob("*.git"))) == 2


@pytest.mark.alone
def test_nothing_of_a_run_stays_outside_its_folders(workshop: Workshop) -> None:
    before = set(Path("/tmp").glob("joelclaw-sandbox-*"))
    ended = workshop.run(FIX, verify=[CHECK])
    assert set(Path("/tmp").glob("joelclaw-sandbox-*")) == before
    assert not list(Path("/sys/fs/cgroup").glob(f"**/joelclaw-{ended.state.run_id}*"))
    assert {path.name for path in ended.folder.path.iterdir()} == {
        "spec.json", "state.json", "lock", "beat", "collected", "shim.log",
    }  # fmt: skip
