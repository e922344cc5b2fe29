"""`sync`, and what `down` refuses to leave behind: real git repositories on both sides of a real sshd."""

from pathlib import Path

import pytest

from .project import Command, commit, git
from .sshd import Sshd


def head(folder: Path, name: str = "HEAD") -> str:
    return git(folder, "rev-parse", name)


@pytest.fixture
def hosting(tmp_path: Path, machine: Sshd) -> Path:
    """A hosting service that the machine's repository has as its origin, at the project's first commit."""
    folder = tmp_path / "hosting.git"
    git(tmp_path, "init", "--quiet", "--bare", str(folder))
    git(machine.project, "remote", "add", "origin", str(folder))
    git(machine.project, "push", "--quiet", "--set-upstream", "origin", "main")
    return folder


# sync


def test_sync_brings_our_commits_and_files_there(machine: Sshd, command: Command, checkout: Path) -> None:
    mine = commit(checkout, "new.py", "here\n")
    result = command("sync")
    assert result.returncode == 0, result.stderr
    assert head(machine.project) == mine
    assert (machine.project / "new.py").read_text() == "here\n"
    assert git(machine.project, "status", "--porcelain") == ""
    assert "the same on both sides" in command("sync").stderr


def test_sync_brings_the_machines_commits_here(machine: Sshd, command: Command, checkout: Path) -> None:
    theirs = commit(machine.project, "new.py", "there\n")
    assert command("sync").returncode == 0
    assert head(checkout) == theirs
    assert (checkout / "new.py").read_text() == "there\n"


def test_sync_refuses_to_merge_and_loses_nothing(machine: Sshd, command: Command, checkout: Path) -> None:
    mine, theirs = commit(checkout, "mine.py"), commit(machine.project, "theirs.py")
    result = command("sync")
    assert result.returncode == 1
    assert "commits of its own on both sides" in result.stderr and "git rebase paperspace/main" in result.stderr
    assert (head(checkout), head(machine.project), head(checkout, "paperspace/main")) == (mine, theirs, theirs)
    git(checkout, "rebase", "--quiet", "paperspace/main")
    assert command("sync").returncode == 0
    assert head(machine.project) == head(checkout)


@pytest.mark.parametrize("name, shown", [("README.md", "?? README.md"), ("scripts/setup", " M scripts/setup")])
@pytest.mark.parametrize("side", ["here", "there"])
def test_sync_refuses_a_dirty_tree(
    machine: Sshd, command: Command, checkout: Path, side: str, name: str, shown: str
) -> None:
    folder, other = (checkout, machine.project) if side == "here" else (machine.project, checkout)
    (folder / name).write_text("changed\n")
    commit(other, "new.py")
    before = head(checkout), head(machine.project)
    result = command("sync")
    assert result.returncode == 1
    assert shown in result.stderr and "not committed" in result.stderr
    assert (head(checkout), head(machine.project)) == before
    assert (folder / name).read_text() == "changed\n"


def test_sync_fetches_the_machines_other_branches(machine: Sshd, command: Command, checkout: Path) -> None:
    git(machine.project, "checkout", "--quiet", "-b", "idea")
    theirs = commit(machine.project, "idea.py")
    result = command("sync")
    assert result.returncode == 0, result.stderr
    assert head(checkout, "paperspace/idea") == theirs
    assert "paperspace/idea" in result.stderr


def test_sync_leaves_a_remote_of_the_user_alone(machine: Sshd, command: Command, checkout: Path) -> None:
    git(checkout, "remote", "add", "paperspace", "https://example.org/x.git")
    result = command("sync")
    assert result.returncode == 1
    assert "https://example.org/x.git" in result.stderr
    assert git(checkout, "remote", "get-url", "paperspace") == "https://example.org/x.git"


def test_sync_without_bootstrap_says_so(entry, command: Command) -> None:
    result = command("sync")
    assert result.returncode == 1
    assert "scripts/paperspace bootstrap" in result.stderr


def test_sync_without_a_machine_says_so(entry, sshd: Sshd, command: Command) -> None:
    sshd.stop()
    result = command("sync")
    assert result.returncode == 1
    assert "does not answer over SSH" in result.stderr


# down


def refused(command: Command, api, what: str) -> None:
    result = command("down")
    assert result.returncode == 1, result.stderr
    assert what in result.stderr
    assert api.machine.state == "ready" and not api.sent("PATCH /machines/{id}/stop")


def stopped(command: Command, api) -> None:
    result = command("down")
    assert result.returncode == 0, result.stderr
    assert api.machine.state == "off"


def test_down_stops_a_machine_that_has_what_we_have(machine: Sshd, command: Command, api) -> None:
    stopped(command, api)


def test_down_stops_a_machine_that_was_never_set_up(entry, command: Command, api) -> None:
    stopped(command, api)


def test_down_refuses_a_changed_file(machine: Sshd, command: Command, api) -> None:
    (machine.project / "scripts" / "setup").write_text("changed\n")
    refused(command, api, "uncommitted:  M scripts/setup")


def test_down_refuses_a_new_file(machine: Sshd, command: Command, api) -> None:
    (machine.project / "idea.py").write_text("x\n")
    refused(command, api, "uncommitted: ?? idea.py")


def test_down_refuses_a_stash(machine: Sshd, command: Command, api) -> None:
    (machine.project / "scripts" / "setup").write_text("changed\n")
    git(machine.project, "stash")
    refused(command, api, "stashed: stash@{0}")


def test_down_refuses_an_unpushed_commit_until_sync(machine: Sshd, command: Command, api) -> None:
    commit(machine.project, "idea.py")
    refused(command, api, "add idea.py")
    assert command("sync").returncode == 0
    stopped(command, api)


def test_down_refuses_an_unpushed_branch_that_is_not_checked_out(machine: Sshd, command: Command, api) -> None:
    git(machine.project, "checkout", "--quiet", "-b", "idea")
    commit(machine.project, "idea.py")
    git(machine.project, "checkout", "--quiet", "main")
    refused(command, api, "unpushed: idea:")


def test_down_refuses_a_commit_of_a_detached_head(machine: Sshd, command: Command, api) -> None:
    git(machine.project, "checkout", "--quiet", "--detach")
    commit(machine.project, "idea.py")
    refused(command, api, "unpushed: HEAD:")


def test_down_knows_what_we_have_beyond_the_machine(machine: Sshd, command: Command, checkout: Path, api) -> None:
    commit(machine.project, "idea.py")
    assert command("sync").returncode == 0
    commit(checkout, "later.py")
    stopped(command, api)


def test_down_knows_what_the_machine_pushed_to_its_origin(machine: Sshd, hosting: Path, command: Command, api) -> None:
    commit(machine.project, "idea.py")
    refused(command, api, "add idea.py")
    git(machine.project, "push", "--quiet", "origin", "main")
    stopped(command, api)


def test_down_knows_what_was_synced_but_is_ahead_of_origin(machine: Sshd, hosting: Path, command: Command, api) -> None:
    commit(machine.project, "idea.py")
    assert command("sync").returncode == 0
    assert "ahead 1" in git(machine.project, "status", "--short", "--branch")
    stopped(command, api)


def test_down_does_not_take_an_object_without_a_branch_for_ours(
    machine: Sshd, command: Command, checkout: Path, api
) -> None:
    commit(machine.project, "idea.py")
    assert command("sync").returncode == 0
    git(checkout, "reset", "--quiet", "--hard", "HEAD~")
    git(checkout, "update-ref", "-d", "refs/remotes/paperspace/main")
    refused(command, api, "add idea.py")


def test_down_refuses_results_that_were_not_pulled(machine: Sshd, command: Command, checkout: Path, api) -> None:
    (machine.project / "results").mkdir()
    (machine.project / "results" / "run.csv").write_text("1\n")
    refused(command, api, "not pulled: results/run.csv")
    assert command("pull").returncode == 0
    stopped(command, api)


def test_down_refuses_a_tree_that_cannot_be_looked_at(machine: Sshd, command: Command, api) -> None:
    (machine.project / ".git" / "HEAD").write_text("broken\n")
    refused(command, api, "cannot be looked at")


def test_down_force_stops_all_the_same(machine: Sshd, command: Command, api) -> None:
    commit(machine.project, "idea.py")
    assert command("down", "--force").returncode == 0
    assert api.machine.state == "off"


def test_down_stops_a_machine_whose_ssh_is_dead(machine: Sshd, command: Command, api) -> None:
    commit(machine.project, "idea.py")
    machine.stop()
    result = command("down")
    assert result.returncode == 0, result.stderr
    assert api.machine.state == "off"
    assert "SSH does not answer, so unsaved work cannot be looked for" in result.stderr


def test_status_shows_what_is_there_only(machine: Sshd, command: Command) -> None:
    commit(machine.project, "idea.py")
    result = command("status")
    assert result.returncode == 0, result.stderr
    assert "add idea.py" in result.stdout


def test_results_that_were_pulled_and_committed_are_no_obstacle(
    machine: Sshd, command: Command, checkout: Path
) -> None:
    for name in ("same.csv", "grown.csv"):
        (machine.project / "results").mkdir(exist_ok=True)
        (machine.project / "results" / name).write_text("1\n")
    assert command("pull").returncode == 0
    git(checkout, "add", "results")
    git(checkout, "commit", "--quiet", "--message", "results")
    (machine.project / "results" / "grown.csv").write_text("1\n2\n")
    result = command("sync")
    assert result.returncode == 1 and "results/grown.csv" in result.stderr
    assert (machine.project / "results" / "grown.csv").read_text() == "1\n2\n"
    (machine.project / "results" / "grown.csv").write_text("1\n")
    result = command("sync")
    assert result.returncode == 0, result.stderr
    assert head(machine.project) == head(checkout)
    assert (machine.project / "results" / "same.csv").read_text() == "1\n"
    assert git(machine.project, "status", "--porcelain") == ""
