"""Family tabular: networks on typed columns, in which a missing value and an unseen category mean something."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import headstock_tabular
from headstock.cli.pull import command as pull_command
from headstock.data import read_table
from headstock.errors import AlreadyExists, InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.plugin_host.manifest import FILE_NAME, parse, parse_toml
from headstock.preprocess import open_preprocessor
from headstock.testing import check_family
from headstock.testing.exported import export_as_pulled
from headstock.testing.tiny_tabular import ROWS, SCHEMA, make_tiny_tabular
from headstock_tabular.commands import pretrain_command
from headstock_tabular.plugin import backbone_families, cli_commands
from headstock_tabular.pretrain import PretrainOptions, pretrain
from headstock_tabular.schema import infer_schema, records_of
from headstock_tabular.tabular import TabularFamily

FAMILY = TabularFamily()
NETWORKS = ("ft-transformer", "mlp")


def source(folder: Path, **changes: Any) -> SourceFiles:
    """The source that a pull of this folder would give, with keys of its config.json changed."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()) | changes, "path:tiny")


def features(folder: Path, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
    """All taps of rows given as JSON would hold them."""
    files = source(folder)
    reader = open_preprocessor(FAMILY.preprocess(files), {})
    batch = reader.collate(reader.rows([json.dumps(row) for row in rows]))
    with torch.inference_mode():
        taps: dict[str, torch.Tensor] = FAMILY.load(files)(**{n: torch.from_numpy(a) for n, a in batch.items()})
    return taps


@pytest.fixture(scope="module", params=NETWORKS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of each network; never written to."""
    return make_tiny_tabular(tmp_path_factory.mktemp("tabular") / "tiny", network=request.param)


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file in which some columns follow from others, with gaps, codes, dates and a label."""
    path = tmp_path_factory.mktemp("data") / "customers.csv"
    dice = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "age", "income", "zip", "city", "joined", "fixed", "label"])
        for i in range(240):
            age, city = dice.randint(18, 80), dice.choice(["Köln", "Bonn", "Ulm"])
            income = 900 * age + dice.gauss(0, 2000)
            code = {"Köln": "05067", "Bonn": "05311", "Ulm": "08907"}[city]
            joined = f"20{dice.randint(10, 25)}-0{dice.randint(1, 9)}-1{dice.randint(0, 9)}"
            shown = "" if dice.random() < 0.1 else age
            writer.writerow([f"c{i:05}", shown, f"{income:.2f}", code, city, joined, "EUR", dice.choice("yn")])
    return path


# ------------------------------------------------------------------------------------------------ family
def test_the_family_keeps_every_promise_of_the_contract(tiny: Path) -> None:
    """The same kit that third parties run."""
    assert [r for r in check_family(FAMILY, source(tiny)) if not r.passed] == []


@pytest.mark.parametrize("types", [("numeric", "date"), ("categorical",)], ids=["numbers", "categories"])
@pytest.mark.parametrize("network", NETWORKS)
def test_tables_of_numbers_or_categories_alone_have_networks_too(
    network: str, types: tuple[str, ...], tmp_path: Path
) -> None:
    """With the one input that they need."""
    folder = make_tiny_tabular(tmp_path / "tiny", network=network, types=types)
    assert [r for r in check_family(FAMILY, source(folder)) if not r.passed] == []
    assert [s.name for s in FAMILY.inputs(FAMILY.load(source(folder)))] == [
        "categorical" if types == ("categorical",) else "numeric"
    ]


def test_the_exported_graph_equals_torch_and_a_row_alone_equals_the_row_in_company(tiny: Path, tmp_path: Path) -> None:
    """To the last bit, in batches far larger than a pull tries."""
    exported = export_as_pulled(FAMILY, source(tiny), tmp_path)
    assert exported.certificate.shared
    assert max(found.max_error for found in exported.parity.values()) < 1e-5
    rows = [exported.rows[i % len(exported.rows)] for i in range(300)]
    together = exported.graph.run(exported.preprocessor.collate(rows), ["pooled"])[0]
    for i, row in enumerate(exported.rows):
        alone = exported.graph.run(exported.preprocessor.collate([row]), ["pooled"])[0][0]
        for place in (i, i + 16 * 17):
            np.testing.assert_array_equal(together[place], alone)


def test_a_missing_number_is_not_the_mean(tiny: Path) -> None:
    """It is taken for it, and flagged."""
    missing, mean, other = features(tiny, [{**ROWS[0], "age": age} for age in (None, 40, 70)])["pooled"]
    assert not torch.allclose(missing, mean, atol=1e-3)
    assert not torch.allclose(mean, other, atol=1e-3)


def test_a_missing_an_unseen_and_a_known_category_differ(tiny: Path) -> None:
    """And two unseen ones do not."""
    rows = features(tiny, [{**ROWS[0], "city": city} for city in (None, "Rom", "Bonn", "Oslo")])["pooled"]
    assert torch.equal(rows[1], rows[3])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(rows[one], rows[other], atol=1e-3)


def test_an_index_that_no_column_has_is_an_unseen_category(tiny: Path) -> None:
    """Also past the preprocessing: on a GPU it would read what lies behind the table."""
    numeric, module = torch.zeros(3, 7), FAMILY.load(source(tiny))
    with torch.inference_mode():
        rows = module(numeric, torch.tensor([[1, 2], [99, 2], [-1, 2]]))["pooled"]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_the_schema_is_preprocessing_and_its_sizes_are_architecture(tiny: Path) -> None:
    """A category renamed is another preprocessing of the same network; a category more is another network."""
    columns = [dict(column) for column in SCHEMA["columns"]]
    columns[2]["categories"] = ["Bonn", "Köln", "Wien"]
    renamed = source(tiny, schema={**SCHEMA, "columns": columns})
    assert FAMILY.architecture(renamed) == FAMILY.architecture(source(tiny))
    assert FAMILY.preprocess(renamed).digest != FAMILY.preprocess(source(tiny)).digest
    columns[2]["categories"] = ["Bonn", "Köln", "Ulm", "Wien"]
    with pytest.raises(InvalidInput, match=r"table.weight.* of 'path:tiny' has shape .*; config.json promises"):
        FAMILY.load(source(tiny, schema={**SCHEMA, "columns": columns}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": "forest"}, "network 'forest' is not known; expected one of"),
        ({"width": 0}, "width is 0; expected 1 to 4096"),
        ({"width": "16"}, "width is '16'; expected a int"),
        ({"schema": None}, "has no 'schema', the columns of its table"),
        ({"auto_map": {}}, "key 'auto_map', which chooses code to run"),
        ({"layers": 3}, "lacks"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tiny: Path, changes: dict[str, Any], message: str) -> None:
    """By the key."""
    with pytest.raises(InvalidInput, match=message):
        FAMILY.load(source(tiny, **changes))


# ------------------------------------------------------------------------------------------------ schema
def test_columns_are_judged_by_their_values(customers: Path) -> None:
    """Numbers with gaps, codes with leading zeros, dates, categories; ids and constants are left out, and said so."""
    schema = infer_schema(read_table(customers), {"label": "ignored"})
    assert {column.name: column.type for column in schema.options.columns} == {
        "id": "ignored",
        "age": "numeric",
        "income": "numeric",
        "zip": "categorical",
        "city": "categorical",
        "joined": "date",
        "fixed": "ignored",
        "label": "ignored",
    }
    assert [note.split(":")[0] for note in schema.notes] == [
        "'id' looks like ids or free text (240 values)",
        "'fixed' has the same value in all rows, 'EUR'",
    ]
    joined = schema.options.columns[5]
    assert (joined.format, joined.cycles) == ("iso", ("year", "week"))


def test_what_a_column_is_can_be_told(customers: Path) -> None:
    """And is refused where its values say otherwise, or it does not exist."""
    table = read_table(customers)
    columns = {c.name: c for c in infer_schema(table, {"age": "categorical", "id": "categorical"}).options.columns}
    assert columns["age"].type == columns["id"].type == "categorical"
    with pytest.raises(InvalidInput, match="column 'city' does not hold what --numeric says: "):
        infer_schema(table, {"city": "numeric"})
    with pytest.raises(InvalidInput, match=r"has no column 'aeg'.*did you mean 'age'"):
        infer_schema(table, {"aeg": "ignored"})


def test_typed_cells_of_other_files_are_read_like_text(tmp_path: Path) -> None:
    """Truth, whole numbers, null and dates of JSONL and Parquet."""
    pandas = pytest.importorskip("pandas")
    rows = [{"n": i, "t": i % 2 == 0, "d": f"2024-01-{i + 1:02}", "g": None if i % 5 else 1.5 * i} for i in range(25)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    frame = pandas.DataFrame(rows).assign(d=lambda f: pandas.to_datetime(f["d"]))
    frame.to_parquet(tmp_path / "a.parquet")
    text, typed = read_table(tmp_path / "a.jsonl"), read_table(tmp_path / "a.parquet")
    assert infer_schema(text).options == infer_schema(typed).options
    assert {c.name: c.type for c in infer_schema(text).options.columns} == {
        "n": "numeric",
        "t": "categorical",
        "d": "date",
        "g": "numeric",
    }


# ------------------------------------------------------------------------------------------- pretraining
@pytest.mark.parametrize("network", NETWORKS)
def test_pretraining_learns_to_tell_masked_columns_from_the_others(
    network: str, customers: Path, tmp_path: Path
) -> None:
    """Income follows from age and the code from the city: better than the mean and the commonest category."""
    sizes = {"width": 32, "layers": 2, **({"heads": 4, "inner": 32} if network == "ft-transformer" else {})}
    options = PretrainOptions(network=network, sizes=sizes, epochs=40, rate=3e-3, mask=0.2)
    report = pretrain(read_table(customers), tmp_path / "out", options, told={"label": "ignored"})
    assert report.r2 is not None
    assert report.accuracy is not None
    assert report.commonest is not None
    assert report.r2 > 0.15
    assert report.accuracy > report.commonest + 0.15
    assert [r for r in check_family(FAMILY, source(tmp_path / "out")) if not r.passed] == []


def test_the_same_seed_makes_the_same_weights_and_the_label_is_never_seen(customers: Path, tmp_path: Path) -> None:
    """Byte for byte, whatever the label says; another seed differs."""
    options = PretrainOptions(network="mlp", sizes={"width": 16}, epochs=2)
    other = tmp_path / "flipped.csv"
    other.write_text(customers.read_text().replace(",y\n", ",n\n").replace(",y\r\n", ",n\r\n"))
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    for name, file, seed in (("a", customers, 0), ("b", other, 0), ("c", customers, 1)):
        changed = PretrainOptions(**{**{f: getattr(options, f) for f in options.__slots__}, "seed": seed})
        pretrain(read_table(file), tmp_path / name, changed, told={"label": "ignored"})
    assert torch.equal(torch.rand(1), before)
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]


def test_from_a_csv_file_to_a_servable_backbone_by_two_commands(customers: Path, tmp_path: Path) -> None:
    """Pretrain, then pull; both say what they found."""
    runner, out = CliRunner(), tmp_path / "out"
    done = runner.invoke(
        pretrain_command,
        [
            str(customers),
            "--family",
            "tabular",
            "--out",
            str(out),
            "--ignore",
            "label",
            "--epochs",
            "2",
            "--width",
            "16",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "240 rows, masked numbers R2" in done.stdout
    assert f"next: headstock pull path:{out} --name NAME" in done.stdout
    assert "note: 'id' looks like ids" in done.stderr
    told = json.loads((out / "config.json").read_text())["pretraining"]
    assert (told["file"], told["rows"], told["seed"]) == ("customers.csv", 240, 0)
    assert str(tmp_path) not in (out / "config.json").read_text()
    done = runner.invoke(
        pull_command,
        [f"path:{out}", "--name", "customers", "--format", "json"],
        env={"HEADSTOCK_HOME": str(tmp_path / "h")},
    )
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    assert (record["shared"], record["measured"]) == (True, 0.0)
    assert sorted(record["parity"]) == ["pooled", "tokens"]


def test_pretraining_refuses_what_cannot_work(customers: Path, tmp_path: Path) -> None:
    """Too few rows, a folder that holds files, options out of range."""
    table = read_table(customers)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="folder 'full' holds files already"):
        pretrain(table, tmp_path / "full")
    with pytest.raises(InvalidInput, match=r"option mask is 1\.5; expected 0\.0 to 0\.95"):
        pretrain(table, tmp_path / "out", PretrainOptions(mask=1.5))
    with pytest.raises(InvalidInput, match="width 30 is no multiple of heads 8"):
        pretrain(table, tmp_path / "out", PretrainOptions(sizes={"width": 30}))
    (tmp_path / "small.csv").write_text("a,b\n" + "1,2\n" * 3)
    with pytest.raises(InvalidInput, match=r"'small\.csv' has 3 rows; pretraining needs at least 20"):
        pretrain(read_table(tmp_path / "small.csv"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_records_go_through_the_preprocessing_that_serving_uses(customers: Path, tmp_path: Path) -> None:
    """A row of the file as the pretraining saw it equals the same row sent as JSON."""
    table = read_table(customers)
    reader = open_preprocessor(FAMILY.preprocess(source(_pretrained(table, tmp_path))), {})
    records = records_of(table)[:5]
    batch = reader.collate(reader.rows([json.dumps(record) for record in records]))
    assert batch["numeric"].shape == (5, 7)
    assert np.isfinite(batch["numeric"][:, 1]).all()


def _pretrained(table: Any, folder: Path) -> Path:
    pretrain(
        table, folder / "p", PretrainOptions(network="mlp", sizes={"width": 8}, epochs=1), told={"label": "ignored"}
    )
    return folder / "p"


# ------------------------------------------------------------------------------------------------ plugin
def test_the_manifest_tells_the_truth_about_the_hooks() -> None:
    package = Path(headstock_tabular.__file__).parent
    manifest = parse(
        parse_toml((package / FILE_NAME).read_bytes()),
        name="headstock-tabular",
        package="headstock_tabular",
        distribution="headstock",
        version="0",
    )
    assert [(f.name, f.modality) for f in manifest.families] == [(f.name, f.modality) for f in backbone_families()]
    assert [c.name for c in manifest.commands] == [c.name for c in cli_commands()]


def test_naming_the_family_imports_neither_torch_nor_readers_of_tables() -> None:
    """The command's help is shown without them too."""
    code = (
        "import sys; import headstock_tabular.plugin as p; p.backbone_families(); p.cli_commands();"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    path = [str(Path(headstock_tabular.__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
