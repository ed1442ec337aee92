"""Wrong input to any command: what is wrong, what was expected, what to type instead; and nothing changes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.settings import Settings
from headstock.testing.toy import publish_toy


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[[Path, str], Outcome]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with odd files, and in `home` the backbone `toy` with the models `sentiment` and `intents`."""
    folder = _fill(tmp_path_factory.mktemp("errors"))
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(folder / "home")})) as catalogue:
        publish_toy(catalogue)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The same folder without `home`."""
    return _fill(tmp_path)


def _fill(folder: Path) -> Path:
    (folder / "rows.csv").write_text("text,label\ngood one,good\nbad one,bad\ngood two,good\nbad two,bad\n")
    (folder / "empty.csv").write_text("")
    (folder / "noise.csv").write_bytes(bytes(range(256)))
    (folder / "half.toml").write_text("a = [")
    (folder / "folder").mkdir()
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line, typed in a folder."""

    def command(folder: Path, line: str) -> Outcome:
        monkeypatch.setenv("HEADSTOCK_HOME", str(folder / "home"))
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["headstock", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


GROW = "fine-tune --backbone toy --head text-classification --name new --data rows.csv"
TEACH = "distil --teacher sentiment --student toy --name new --data rows.csv"
GO_ON = "continue --backbone toy --name new --data rows.csv"
MOVE = "adapt --backbone toy --head text-classification --name new --data rows.csv --target rows.csv"
GROUP = "cluster --backbone toy --name new --data rows.csv"

# What is typed, a part of what is wrong, and a part of what to type instead.
MISTAKES = [
    ("show nothing", "there is no entry 'nothing'; there are intents, sentiment, toy", "headstock list"),
    ("show toy:9", "'toy' has no version 9; it has 1", "toy:1"),
    ("show toy --recipe", "toy:1 is a backbone and has no recipe", "headstock list --kind model"),
    ("pull elsewhere:x --name new", "source 'elsewhere:x' is not understood", "hf:ORG/NAME"),
    ("pull path:nowhere --name new", "folder 'nowhere' does not exist", "path:DIR"),
    ("pull path:folder --name new", "path:folder has no config.json", "save_pretrained"),
    ("pull path:folder --family brt --name new", "there is no family 'brt'", "did you mean 'bert'?"),
    ("variant toy --precision int3", "there is no precision 'int3'; expected one of int8", "--precision int8"),
    (f"{GROW} --data absent.csv", "'absent.csv': No such file", "a file or folder that exists"),
    (f"{GROW} --data empty.csv", "'empty.csv' is empty", "write the rows"),
    (f"{GROW} --data noise.csv", "'noise.csv' is not UTF-8", "iconv"),
    (f"{GROW} --backbone tyo", "there is no entry 'tyo'", "toy"),
    (f"{GROW} --head text-classificaton", "there is no head", "text-classification"),
    (f"{GROW} --column spans", "--column 'spans' is not ROLE=COLUMN", "spans=entities"),
    (f"{GROW} --column text=text --text-column text", "two columns are given for the text", "leave --column"),
    (f"{GROW} --split-column text --group-column label", "each decide which rows validate", "leave --group-column"),
    (f"{GROW} --weight-decay -1", "--weight-decay -1 is not usable", "--weight-decay 0.01"),
    (f"{GROW} --head-option width=3", "has no option 'width'", "leave --head-option width=3 out"),
    (f"{GROW} --save-recipe no/where.toml", "cannot write the recipe to 'no/where.toml'", "a folder that exists"),
    (f"{GROW} --from sentiment --recipe half.toml", "--from and --recipe each say what to train", "one of them"),
    ("fine-tune --name new --data rows.csv --recipe half.toml", "'half.toml' is not TOML", "headstock recipe init"),
    ("fine-tune --name new --data rows.csv --recipe half.toml --batch-size 3", "--batch-size is decided by", "leave"),
    (f"{TEACH} --alpha 3", "--alpha 3.0", "--alpha 0.7"),
    (f"{TEACH} --student nothing", "there is no entry 'nothing'", "headstock list"),
    (f"{GO_ON} --data absent.txt", "'absent.txt': No such file", "a file or folder that exists"),
    (f"{GO_ON} --backbone sentiment", "sentiment:1 is a model", "headstock list --kind backbone"),
    (f"{GO_ON} --option hidden", "--option 'hidden' is not KEY=VALUE", "--option hidden=VALUE"),
    (f"{GO_ON} --backbone-lr nan", "--backbone-lr nan is not usable", "--backbone-lr 5e-05"),
    (f"{MOVE} --methods foo", "--methods names 'foo'; expected some of coral", "--methods all"),
    (f"{MOVE} --target absent.csv", "'absent.csv': No such file", "a file or folder that exists"),
    (f"{GROUP} --k some", "--k 'some' is no number of clusters", "--k auto"),
    (f"{GROUP} --tap pooled", "has no tap 'pooled'; it has ['tokens', 'cls', 'mean']", "one of these"),
    ("recipe validate absent.toml", "cannot read the recipe 'absent.toml'", "the NAME[:V] of a model"),
    ("recipe diff toy toy", "toy:1 is a backbone and has no recipe", "--recipe FILE.toml"),
    ("rank --data rows.csv --head none", "there is no head 'none'", "headstock heads"),
    ("update sentiment --add rows.csv --erase rows.csv", "expected one of --add, --erase and --refit", "--add FILE"),
    ("predict toy hello", "answers nothing by itself", "headstock fine-tune"),
    ("predict sentiment", "there is nothing to ask about", "headstock predict NAME"),
    ("predict sentiment x --server 127.0.0.1:1 --timeout 1", "127.0.0.1:1: UNAVAILABLE", "headstock serve"),
    ("report sentiment --format json --open", "--open shows a page", "--format html"),
    ("report sentiment --price", "--price trains, and needs the model's data", "--data FILE"),
    ("data check absent.csv --head text-classification", "'absent.csv'", "a file or folder that exists"),
    ("promote toy 3", "alias '3' is a number", "production"),
    ("rollback toy", "has no alias 'production'", "headstock promote"),
    ("remove toy --yes", "intents:1, sentiment:1 stand on it", "headstock remove"),
    ("sign sentiment --key absent.pem --out signed", "the private key 'absent.pem' cannot be read", "openssl ecparam"),
    ("licence why toy --policy absent.toml", "there is no policy file 'absent.toml'", "headstock licence why --help"),
    ("licence replay abc", "'abc' is no proof id", "headstock licence why"),
    ("licence add absent.toml --reason x", "there is no file 'absent.toml'", "docs/licences.md"),
    ("licence add folder --reason x", "cannot read the licence record 'folder'", "docs/licences.md"),
    ("licence conclude toy --as 'MIT AND' --reason x", "there is no licence record 'MIT AND'", "licence list"),
    ("notice toy --out no/NOTICE", "cannot write the notices to 'no/NOTICE'", "a folder that exists"),
    ("card toy --out no/CARD.md", "cannot write the card to 'no/CARD.md'", "a folder that exists"),
    ("plugins check nothing", "there is no plugin 'nothing'", "headstock plugins"),
    ("plugins new acme", "the kind of plugin is missing", "--family or --head"),
    ("plugins pin family bert other", "is not declared by distribution 'other'", "headstock plugins pin family bert"),
    ("pretrain rows.csv --out net --mask 2", "has 4 rows; pretraining needs at least 20", "headstock pretrain"),
    ("zero-shot --backbone toy --text-backbone toy --class a --name new", "there are 1 classes", "--class NAME"),
    ("vectors --backbone sentiment --name new", "sentiment:1 is a model", "headstock list"),
    ("serve --cuda-graphs", "--cuda-graphs is about passes on a GPU", "--device cuda"),
    ("serve --bind 0.0.0.0:1", "can be reached from other machines", "--insecure-bind"),
    ("serve --bind 127.0.0.1:0 --batch-trace no/trace", "the batch trace 'trace' cannot be written", "--batch-trace"),
    ("bench 127.0.0.1:1 --models x", "expected one of --concurrency, --rate and --find-rate", "--concurrency 8"),
    ("bench 127.0.0.1:1 --models x,x --rate 1", "--models is 'x,x'; expected different names", "--models x"),
    ("bench 127.0.0.1:1 --models x --rate 1 --mix zipf", "the mix of models is 'zipf'", "--mix zipf:1.1"),
    ("bench 127.0.0.1:1 --models x --rate 1 --picture no/p.svg", "its folder does not exist", "--picture"),
    ("explain-batches noise.csv", "line 1 of the batch trace", "headstock serve --batch-trace"),
]  # fmt: skip


@pytest.mark.parametrize("line, said, fix", MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_is_told_in_two_lines_and_changes_nothing(
    run: Run, toys: Path, line: str, said: str, fix: str
) -> None:
    before = _state(toys)

    done = run(toys, line)

    assert done.code in (1, 2)
    assert done.out == ""
    found = re.search(r"^error: (.+)\ntry:   (.+)\n\Z", done.err, re.MULTILINE)
    assert found is not None, done.err
    assert said in found[1]
    assert fix in found[2]
    assert _state(toys) == before


def _state(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Every file beside the catalogue, and every version in it."""
    files = sorted(path for path in folder.rglob("*") if "home" not in path.parts)
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(folder / "home")})) as catalogue:
        return files, [(str(version), version.subject) for version in catalogue.versions()]


@pytest.mark.parametrize(
    "line, said",
    [
        ("lst", "there is no command 'lst'; did you mean 'list'?"),
        ("list --kind heads", "'heads' is not one of 'backbone', 'model'"),
        ("fine-tune --name x", "Missing option '--data'"),
        ("gc --format xml", "'xml' is not one of 'table', 'json', 'quiet'"),
        ("audit log --limit 0", "0 is not in the range"),
        ("predict sentiment x --timeout 0", "0.0 is not in the range"),
        ("licence why toy --scale many", "'many' is not a valid integer"),
        ("licence conclude toy --reason x", "say either --as LICENCE or --withdraw"),
        ("verify toy", "needs --key PUBLIC_KEY"),
        ("serve --memory-budget much", "'much' is not a size"),
        ("bench 127.0.0.1:1 --models x --concurrency 0", "is not whole numbers above 0"),
        ("bench 127.0.0.1:1 --model x --rate 1", "No such option '--model'"),
        ("explain-batches absent", "'absent' does not exist"),
    ],
)
def test_a_command_that_is_typed_wrong_points_to_its_help(run: Run, empty: Path, line: str, said: str) -> None:
    done = run(empty, line)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert re.search(r"Try '.*headstock.* --help' for help\.", done.err)


@pytest.mark.parametrize(
    "line",
    [
        "show toy", "promote toy", "rollback toy", "remove toy --yes", "gc", "verify", "audit log", "audit verify",
        "report toy", "diff toy toy", "predict toy x", "notice toy", "card toy", "licence why toy", "licence bom toy",
        "licence conclude toy --as MIT --reason x", "variant toy --precision fp16", "update toy --add rows.csv",
        "rank --data rows.csv --head text-classification", "recipe validate toy", "serve --bind 127.0.0.1:0",
        GROW, TEACH, GO_ON, GROUP,
    ],
)  # fmt: skip
def test_without_a_catalogue_a_command_says_how_to_begin_and_makes_none(run: Run, empty: Path, line: str) -> None:
    """A mistyped HEADSTOCK_HOME would be an empty zoo otherwise, and `verify` would call it clean."""
    done = run(empty, line)

    assert done.code == 1
    assert done.err.endswith("error: there is no catalogue yet\ntry:   headstock pull SOURCE --name NAME\n")
    assert not (empty / "home" / "catalogue.db").exists()


def test_a_home_that_cannot_be_is_no_traceback(run: Run, empty: Path) -> None:
    (empty / "home").write_text("a file where a folder belongs")

    done = run(empty, "pull path:folder --name new")

    assert done.code == 1
    assert re.search(r"error: .*'.*home.*'\ntry:   ", done.err)
