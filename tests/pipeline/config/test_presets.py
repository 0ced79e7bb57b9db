"""Presets: what they change, what they leave alone, and the way back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet.schedule import noise_is_on, rate
from pipeline.commands.main import main
from pipeline.config import parameters
from pipeline.config.datasets import NAMES
from pipeline.config.presets import TEMPLATE, configure, values_of
from pipeline.config.safe_yaml import flatten, read_sections
from pipeline.system.errors import UserError

COMMITTED = Path(__file__).resolve().parents[3] / "params.yaml"
PRESETS = [name for name in NAMES if name != "folder"]  # which needs a location


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(COMMITTED, tmp_path / "params.yaml"))


def comments(file: Path) -> list[str]:
    return [line.partition("#")[2] for line in file.read_text().splitlines()]


def test_every_data_set_has_a_preset_and_there_are_no_others() -> None:
    assert {file.stem for file in TEMPLATE.parent.glob("*.yaml")} == set(NAMES)
    for name in NAMES:
        assert values_of(name)["dataset.source"] == name


def test_the_template_is_the_committed_file() -> None:
    committed = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=COMMITTED.parent,
                               capture_output=True, check=False)
    assert TEMPLATE.read_bytes() == (committed.stdout or COMMITTED.read_bytes())


def test_the_sample_is_what_is_committed_and_names_all_that_others_change() -> None:
    committed = flatten(yaml.safe_load(COMMITTED.read_text()))
    sample = values_of("sample")
    assert sample == {key: committed[key] for key in sample}
    for name in NAMES:
        assert values_of(name).keys() == sample.keys(), name


@pytest.mark.parametrize("name", PRESETS)
def test_only_the_presets_keys_change_and_comments_stay(file: Path, name: str) -> None:
    before = flatten(read_sections(file))
    changed = configure(name, file=file)
    after = flatten(read_sections(file))
    assert after == before | values_of(name)
    assert changed == {key: (before[key], after[key]) for key in after if after[key] != before[key]}
    assert comments(file) == comments(COMMITTED)
    parameters.load(file)


def test_imagenet2010_follows_its_own_log(file: Path) -> None:
    """S layer-params-145-2010.cfg: drops at 23, 51 and 78, conv1 at 68 and 72, killed at 93; epsB
    ends at 0.002."""
    configure("imagenet2010", file=file)
    read = parameters.load(file)
    chosen, epochs = read.effective_recipe(), 93
    assert read.train.epochs == epochs

    def changes(name: str) -> dict[int, float]:
        rates = [rate(chosen, name, epoch / epochs).lr for epoch in range(epochs)]
        return {epoch: pytest.approx(rates[epoch]) for epoch in range(epochs)
                if epoch == 0 or rates[epoch] != rates[epoch - 1]}

    assert changes("fc7.weight") == {0: 0.01, 23: 0.001, 51: 0.0001, 78: 0.00001}
    assert changes("conv1.weight") == {0: 0.01, 23: 0.001, 51: 0.0001, 68: 0.00001, 72: 0.0}
    assert changes("fc7.bias") == {0: 0.02, 47: 0.002}
    assert next(epoch for epoch in range(epochs) if not noise_is_on(chosen, epoch / epochs)) == 68


def test_imagenet_is_the_run_of_the_paper(file: Path) -> None:
    configure("imagenet2012", file=file)
    read = parameters.load(file)
    assert (read.dataset.source, read.network.width, read.train.batch) == ("imagenet2012", 1, 128)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(st.lists(st.sampled_from(PRESETS), max_size=4))
def test_whatever_came_between_the_sample_leads_back_to_the_same_bytes(file: Path,
                                                                       path: list[str]) -> None:
    for name in path:
        configure(name, file=file)
    configure("sample", file=file)
    assert file.read_bytes() == COMMITTED.read_bytes()


def test_what_no_preset_names_stays(file: Path) -> None:
    file.write_text(file.read_text().replace("seed: 1 ",
                                             "seed: 77 ").replace("threads: auto", "threads: 2"))
    configure("imagenette", file=file)
    configure("imagenet2012", file=file)
    read = parameters.load(file)
    assert (read.train.seed, read.execution.threads) == (77, 2)


def test_the_data_sets_folder_can_be_named(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures: new"
    folder.mkdir()
    changed = configure("imagenette", folder, file)
    assert changed["dataset.location"] == (None, str(folder))
    assert parameters.load(file).dataset.location == folder
    assert configure("sample", file=file)["dataset.location"] == (str(folder), None)
    assert file.read_bytes() == COMMITTED.read_bytes()


def test_pictures_of_ones_own_need_their_folder(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--location is missing: alexnet configure folder"):
        configure("folder", file=file)
    with pytest.raises(UserError, match=r"--location .*pictures: no such folder; make it"):
        configure("folder", tmp_path / "pictures", file)
    assert file.read_bytes() == COMMITTED.read_bytes()
    configure("folder", tmp_path, file)
    assert parameters.load(file).dataset.location == tmp_path
    configure("sample", file=file)
    assert file.read_bytes() == COMMITTED.read_bytes()


def test_without_a_file_it_is_written_from_the_template(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    assert configure("sample", file=file) == {}
    assert file.read_bytes() == TEMPLATE.read_bytes()
    file.unlink()
    assert configure("cifar10", file=file)["train.epochs"] == (16, 60)
    assert parameters.load(file).dataset.source == "cifar10"
    assert comments(file) == comments(TEMPLATE)


def test_what_is_printed_reads_as_it_stands_in_the_file(file: Path) -> None:
    told = CliRunner().invoke(main,
                              ["configure", "cifar10", "--params", str(file)]).output.splitlines()
    assert "recipe.conv1_freezing: null -> false" in told
    assert "resize.side: 256 -> 32" in told


def test_an_unknown_preset_is_refused_with_those_there_are(file: Path) -> None:
    with pytest.raises(UserError,
                       match=r"'cifar'.* cifar10, folder, imagenet2010, .*, imagenette, sample"):
        configure("cifar", file=file)
    assert file.read_bytes() == COMMITTED.read_bytes()


def test_a_file_that_would_not_be_valid_stays_as_it_was(file: Path) -> None:
    text = file.read_text().replace("micro_batches: 1 ",
                                    "micro_batches: 3 ").replace("order_seed:", "order_sed:")
    file.write_text(text)
    with pytest.raises(UserError, match=r"resize\.order_sed"):
        configure("imagenette", file=file)
    assert file.read_text() == text


def test_a_key_that_was_lost_comes_back(file: Path) -> None:
    file.write_text("".join(line for line in file.read_text().splitlines(True)
                            if "epochs:" not in line))
    assert configure("imagenette", file=file)["train.epochs"] == (None, 32)
    assert parameters.load(file).train.epochs == 32


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("dataset: [")
    with pytest.raises(UserError, match="not YAML"):
        configure("sample", file=tmp_path / "params.yaml")
