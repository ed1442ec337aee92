"""What pulling, fine-tuning and promoting do about a licence verdict: refuse, warn, record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput, LicenceRefused
from headstock.hookspecs import LicenceRecord
from headstock.licences import verdict
from headstock.licences.decisions import conclude
from headstock.licences.enforcement import check_fine_tune, promote
from headstock.names import Reference
from headstock.plugin_host import PluginHost, open_host
from headstock.records import Evidence
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_backbone, publish_model

PUBLIC = '[context]\npurpose = "commercial"\naudience = "public"\n'
LLAMA = "LicenseRef-headstock-llama-3.2"
SHARED = '[context]\npurpose = "commercial"\naudience = "public"\nact = "distribute"\n'


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with backbone `toy`, which is non-commercial by decision, and `tickets.csv` in the working folder."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADSTOCK_ACTOR", "ada")
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        toy = publish_backbone(catalogue)
        publish_model(catalogue, "flowers", toy)
        decide(catalogue, "CC-BY-NC-4.0")
    rows = [f"w{i} {'great' if i % 2 else 'awful'},{'good' if i % 2 else 'bad'}" for i in range(24)]
    Path("tickets.csv").write_text("message,kind\n" + "\n".join(rows) + "\n")
    return tmp_path / "home"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


def decide(catalogue: Catalogue, licence: str) -> None:
    conclude(catalogue, catalogue.newest("toy").subject, licence, "decided for the test")


def policy(home: Path, text: str) -> None:
    (home / "policy.toml").write_text(text)


def grow(run: Run, *more: str) -> Outcome:
    asked = (
        "--backbone",
        "toy",
        "--head",
        "text-classification",
        "--data",
        "tickets.csv",
        "--name",
        "tickets",
    )
    return run("fine-tune", *asked, "--epochs", "1", "--format", "quiet", *more)


def names() -> list[str]:
    with Catalogue.open() as catalogue:
        return catalogue.names()


def dataset_statements(name: str) -> list[Evidence]:
    with Catalogue.open() as catalogue:
        head = catalogue.newest(name).details["head"]
        data = [e.parent for e in catalogue.edges(child=head) if e.relation == "trained_on"]
        return [s for digest in data for s in catalogue.evidence(digest)]


# ---------------------------------------------------------------------------------------------- fine-tune
def test_fine_tuning_is_refused_on_a_denied_backbone_before_anything_is_trained(home: Path, run: Run) -> None:
    """The message says what, which term, which ancestor, and what to type."""
    policy(home, PUBLIC)

    done = grow(run)

    assert done.code == 1
    assert done.err.splitlines()[-2:] == [
        "error: fine-tuning 'tickets' on 'toy' is refused: the licence verdict is deny: "
        "backbone toy: CC-BY-NC-4.0: non-commercial, and the purpose is commercial",
        "try:   headstock licence why toy",
    ]
    assert names() == ["flowers", "toy"]


def test_fine_tuning_under_mode_warn_says_so_and_goes_on(home: Path, run: Run) -> None:
    policy(home, PUBLIC + '[mode]\ndeny = "warn"\n')

    done = grow(run)

    assert done.code == 0
    assert "warning: fine-tuning 'tickets' on 'toy': the licence verdict is deny: backbone toy" in done.err
    assert "tickets" in names()


def test_fine_tuning_under_mode_off_is_silent(home: Path, run: Run) -> None:
    policy(home, PUBLIC + '[mode]\ndeny = "off"\nunknown = "off"\n')

    done = grow(run)

    assert (done.code, "licence" in done.err) == (0, False)


def test_a_contested_use_warns_by_default(home: Path, run: Run) -> None:
    """Without a policy file: internal use of non-commercial weights is contested, not denied."""
    done = grow(run)

    assert done.code == 0
    assert "the licence verdict is unknown: backbone toy: CC-BY-NC-4.0" in done.err


def test_silence_about_the_data_is_recorded_as_noassertion(home: Path, run: Run) -> None:
    assert grow(run).code == 0
    assert [(s.field, s.value, s.source) for s in dataset_statements("tickets")] == [
        ("licence", "NOASSERTION", "operator")
    ]


def test_a_stated_data_licence_is_evidence_about_the_data_set(home: Path, run: Run) -> None:
    """Normalised, with the operator's own words beside it."""
    assert grow(run, "--data-licence", "cc-by-4.0").code == 0
    assert [(s.value, s.source, s.raw) for s in dataset_statements("tickets")] == [
        ("CC-BY-4.0", "operator", "cc-by-4.0")
    ]


def test_a_data_licence_that_names_a_family_is_refused_with_what_to_type(home: Path, run: Run) -> None:
    done = grow(run, "--data-licence", "gpl")

    assert done.code == InvalidInput.exit_code
    assert "try:   --data-licence GPL" in done.err
    assert "tickets" not in names()


def test_a_data_licence_counts_in_the_verdict_where_the_stance_says_so(home: Path) -> None:
    """Before the training: the plan is judged as the model would be."""
    policy(home, PUBLIC + '[stances]\ntraining_data = "inherit-nc"\n')
    with Catalogue.open() as catalogue:
        decide(catalogue, "MIT")
        toy = catalogue.newest("toy").subject
        assert check_fine_tune(catalogue, toy, "toy", "tickets", "t.csv", "CC-BY-4.0") == []
        with pytest.raises(LicenceRefused, match=r"dataset t\.csv: CC-BY-NC-4\.0: non-commercial"):
            check_fine_tune(catalogue, toy, "toy", "tickets", "t.csv", "CC-BY-NC-4.0")


def test_the_plan_of_a_fine_tune_gets_the_verdict_that_the_model_gets(home: Path, run: Run) -> None:
    """So nothing that passes the check is refused when it is done, and the other way round."""
    policy(home, PUBLIC + '[mode]\ndeny = "warn"\n')
    warned = grow(run).err
    with Catalogue.open() as catalogue:
        made = verdict(catalogue, catalogue.newest("tickets").subject)
    assert f"the licence verdict is {made.value}: {made.reason}; " in warned


# ---------------------------------------------------------------------------------------------- promote
def test_promoting_a_denied_version_is_refused_with_the_proof(home: Path) -> None:
    policy(home, PUBLIC)
    with Catalogue.open() as catalogue:
        version = catalogue.newest("flowers")
        with pytest.raises(LicenceRefused, match="promoting 'flowers:1' is refused") as refused:
            promote(catalogue, version)
        assert catalogue.aliases("flowers") == {}
        assert refused.value.proof_id == verdict(catalogue, version.subject).proof_id
        assert refused.value.fix == "headstock licence why flowers:1"


def test_promoting_follows_a_decision(home: Path, run: Run) -> None:
    """Refused, decided, promoted."""
    policy(home, PUBLIC)
    assert run("promote", "flowers").code == 1

    run("licence", "conclude", "toy", "--as", "Apache-2.0", "--reason", "bought a licence")

    done = run("promote", "flowers")
    assert (done.code, done.err) == (0, "")
    assert "flowers:production is now version 1" in done.out


def test_promoting_what_is_contested_warns_on_stderr(home: Path, run: Run) -> None:
    done = run("promote", "flowers")

    assert done.code == 0
    assert done.err.startswith("warning: promoting 'flowers:1': the licence verdict is unknown: ")


def test_promoting_under_unknown_enforce_refuses_what_nobody_knows(home: Path, run: Run) -> None:
    policy(home, '[mode]\nunknown = "enforce"\n')

    done = run("promote", "flowers")

    assert done.code == 1
    assert "the licence verdict is unknown" in done.err


def test_rolling_back_is_never_refused(home: Path, run: Run) -> None:
    """Ending an outage does not wait for a decision; a server refuses by itself what it may not serve."""
    with Catalogue.open() as catalogue:
        publish_model(catalogue, "flowers", catalogue.newest("toy"), ToyHead(seed=9))
        catalogue.promote("flowers", 1)
        catalogue.promote("flowers", 2)
    policy(home, PUBLIC)

    assert run("promote", "flowers:1").code == 1
    assert run("rollback", "flowers").code == 0
    with Catalogue.open() as catalogue:
        assert catalogue.aliases("flowers") == {"production": 1}


# ---------------------------------------------------------------------------------------------- names
def test_a_name_duty_is_checked_where_a_model_is_named_and_where_it_is_promoted(home: Path) -> None:
    policy(home, SHARED + '[mode]\nunknown = "warn"\n')
    with Catalogue.open() as catalogue:
        decide(catalogue, "LicenseRef-headstock-llama-3")
        toy = catalogue.newest("toy").subject
        with pytest.raises(FailedPrecondition, match="begins with 'Llama 3'; found 'tickets'"):
            check_fine_tune(catalogue, toy, "toy", "tickets", "t.csv")
        with pytest.raises(FailedPrecondition, match="found 'flowers'"):
            promote(catalogue, catalogue.newest("flowers"))
        check_fine_tune(catalogue, toy, "toy", "llama-3-tickets", "t.csv")


def test_a_name_duty_under_mode_warn_is_a_warning(home: Path) -> None:
    policy(home, SHARED + '[mode]\ndeny = "warn"\n')
    with Catalogue.open() as catalogue:
        decide(catalogue, "LicenseRef-headstock-llama-3")
        toy = catalogue.newest("toy").subject
        warnings = check_fine_tune(catalogue, toy, "toy", "tickets", "t.csv")
    assert any("begins with 'Llama 3'" in warning for warning in warnings)


# ---------------------------------------------------------------------------------------------- pull
def test_pull_prints_the_verdict_after_the_evidence_and_warns_of_a_denial(
    tiny_home: Path, tiny_checkpoint: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulling refuses nothing: what is denied for one use may be looked at."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tiny_home))
    with Catalogue.open() as catalogue:
        conclude(catalogue, catalogue.newest("tiny").subject, "CC-BY-NC-4.0", "decided for the test")
    policy(tiny_home, PUBLIC)

    done = run("pull", f"path:{tiny_checkpoint}", "--name", "again")

    assert done.code == 0
    lines = done.out.splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("licence"))
    assert lines[last + 1] == (
        "verdict      deny to serve for commercial use to public: "
        "backbone bert: CC-BY-NC-4.0: non-commercial, and the purpose is commercial"
    )
    assert "models on it will be refused" in done.err


def test_pull_warns_of_a_name_that_the_licence_does_not_allow(
    tiny_home: Path, tiny_checkpoint: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be looked at under any name, and is served under none but a right one."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tiny_home))
    with Catalogue.open() as catalogue:
        conclude(catalogue, catalogue.newest("tiny").subject, LLAMA, "decided for the test")
    policy(tiny_home, PUBLIC)

    done = run("pull", f"path:{tiny_checkpoint}", "--name", "again")
    right = run("pull", f"path:{tiny_checkpoint}", "--name", "llama-again")

    assert (done.code, right.code) == (0, 0)
    assert "begins with 'Llama'; found 'again'; publish it as llama-again" in done.err
    assert "begins with" not in right.err


def test_a_variant_is_asked_about_before_it_is_made(tiny_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the backbone in another form: refused where a fine-tune would be, and bound to the same names."""
    from headstock.variant import make, make_variant

    tiny, home = Reference("tiny"), tiny_catalogue.settings.home
    subject = tiny_catalogue.newest("tiny").subject
    said: list[str] = []
    monkeypatch.setattr(make, "samples_for", lambda _: pytest.fail("something was made"))
    conclude(tiny_catalogue, subject, LLAMA, "decided for the test")
    policy(home, PUBLIC)
    with pytest.raises(FailedPrecondition, match="begins with 'Llama'; found 'tiny-int8'"):
        make_variant(tiny_catalogue, tiny, "int8-per-token", "tiny-int8")
    conclude(tiny_catalogue, subject, "CC-BY-NC-4.0", "decided for the test")
    with pytest.raises(LicenceRefused, match="making 'tiny-int8' of 'tiny' is refused"):
        make_variant(tiny_catalogue, tiny, "int8-per-token", "tiny-int8")
    policy(home, PUBLIC + '[mode]\ndeny = "warn"\n')
    with pytest.raises(pytest.fail.Exception, match="something was made"):
        make_variant(tiny_catalogue, tiny, "int8-per-token", "tiny-int8", said.append)
    assert said[0].startswith("warning: making 'tiny-int8' of 'tiny': the licence verdict is deny")
    assert tiny_catalogue.names() == ["tiny"]


def test_what_a_plugin_knows_about_a_source_is_evidence_with_source_manifest(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement beside the others, about that source and no other."""
    known = [
        LicenceRecord(f"path:{tiny_checkpoint.name}", "Apache-2.0", "https://example.org/licence"),
        LicenceRecord("path:another", "MIT", "https://example.org/other"),
    ]
    monkeypatch.setattr(PluginHost, "licence_records", lambda self: known)

    version = pull(tiny_catalogue, open_host(), f"path:{tiny_checkpoint}", "tiny")

    said = [s for s in tiny_catalogue.evidence(version.subject) if s.source == "manifest"]
    assert [(s.value, s.locator) for s in said] == [("Apache-2.0", "https://example.org/licence")]


def test_gates_ask_no_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict needs the catalogue and the policy file alone."""
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a gate opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with Catalogue.open(Settings.from_environment()) as catalogue:
        version = catalogue.version(Reference("flowers"))
        assert check_fine_tune(catalogue, Digest(catalogue.newest("toy").subject), "toy", "x", "t.csv")
        promote(catalogue, version)


# ---------------------------------------------------------------------------------------------- list
def test_list_has_the_verdict_of_every_version(home: Path, run: Run) -> None:
    header, *rows = run("list").out.splitlines()
    start = header.index("VERDICT")
    assert {row.split()[0]: row[start:].split()[0] for row in rows} == {
        "flowers": "unknown",
        "toy": "unknown",
    }


def test_list_may_shows_what_is_allowed_for_a_purpose(home: Path, run: Run) -> None:
    """Unknown is not allowed; the rest of the use is the policy's."""
    with Catalogue.open() as catalogue:
        publish_model(catalogue, "open", publish_backbone(catalogue, "free", seed=3), ToyHead(seed=3))

    assert run("list", "--may", "commercial", "--format", "quiet").out.split() == ["free:1", "open:1"]
    assert run("list", "--may", "internal", "--format", "quiet").out.split() == ["free:1", "open:1"]
    assert run("list", "--may", "research", "--kind", "model", "--format", "quiet").out.split() == [
        "flowers:1",
        "open:1",
    ]


def test_list_may_follows_a_decision_at_once(home: Path, run: Run) -> None:
    """The remembered column is never a stale one."""
    done = run("list", "--may", "commercial")
    assert (done.out, done.err) == (
        "",
        "the licences of none of these are known to allow that; see: headstock list\n",
    )
    with Catalogue.open() as catalogue:
        decide(catalogue, "Apache-2.0")
    assert run("list", "--may", "commercial", "--format", "quiet").out.split() == ["flowers:1", "toy:1"]
    policy(home, '[refuse]\nlicences = ["Apache-2.0"]\n')
    assert run("list", "--may", "commercial", "--format", "quiet").out.split() == []


def test_list_on_a_warm_cache_imports_nothing_that_judges(home: Path) -> None:
    """Nor anything heavy: a listing reads what was judged before."""
    code = (
        "import sys\n"
        "from headstock.cli.main import cli\n"
        "cli.main(['list', '--may', 'commercial'], standalone_mode=False)\n"
        "heavy = ('torch', 'transformers', 'onnxruntime', 'grpc', 'numpy', 'sqlalchemy', 'license_expression',\n"
        "         'headstock.licences.judge', 'headstock.licences.prover')\n"
        "print('imported', [m for m in heavy if m in sys.modules])\n"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs[1].splitlines()[-1] == "imported []"
