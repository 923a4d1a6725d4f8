"""The captions of real handwriting."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from inktex.core.errors import InputError
from inktex.core.latex import normalize, to_latex, tokenize
from inktex.core.latex_tables import is_known

SPLITS = ("train", "2014", "2016")


def read_captions(root: Path, split: str) -> dict[str, list[str]]:
    lines = (root / "crohme" / "images" / f"{split}.tsv").read_text().splitlines()
    return {line.split("\t")[0]: line.split("\t")[-1].split(" ") for line in lines}


def read_ink(root: Path, split: str) -> dict[str, dict[str, str]]:
    with lzma.open(root / "crohme" / "strokes" / f"{split}.jsonl.xz", "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return {entry["id"]: {key: entry[key] for key in ("truth", "latex")} for entry in entries}


def normalized(latex: str) -> str:
    return " ".join(normalize(tokenize(latex)))


@pytest.mark.parametrize("split", SPLITS)
def test_every_caption_is_already_normal_and_survives_to_latex(data_root: Path, split: str) -> None:
    captions = read_captions(data_root, split)
    assert len(captions) == {"train": 8835, "2014": 986, "2016": 1147}[split]
    assert all(is_known(token) for caption in captions.values() for token in caption)
    for name, caption in captions.items():
        assert tokenize(" ".join(caption)) == caption, name
        assert normalize(caption) == caption, name
        assert normalize(tokenize(to_latex(caption))) == caption, name


@pytest.mark.parametrize(
    ("split", "agreeing", "malformed"), [("train", 8787, 0), ("2014", 978, 3), ("2016", 1147, 0)]
)
def test_annotated_latex_becomes_the_caption(
    data_root: Path, split: str, agreeing: int, malformed: int
) -> None:
    """The rest are annotations that say something else than the caption (`3,1415`, `l o g`)."""
    captions, ink = read_captions(data_root, split), read_ink(data_root, split)
    found = refused = 0
    for name, caption in captions.items():
        # The other captions that come with the ink (WAP's) differ from these in convention alone.
        assert normalize(ink[name]["latex"].split()) == caption, name
        try:
            found += normalize(tokenize(ink[name]["truth"])) == caption
        except InputError:
            refused += 1
    assert (found, refused) == (agreeing, malformed)


def test_labels_of_another_data_set_are_read(data_root: Path) -> None:
    labels = []
    for path in sorted((data_root / "mathwriting" / "excerpt").rglob("*.inkml")):
        text = path.read_text().replace("&amp;", "&").replace("&gt;", ">")
        labels.append(
            tuple(
                text.split(f'type="{name}">')[1].split("</annotation>")[0]
                for name in ("label", "normalizedLabel")
            )
        )
    assert len(labels) == 11
    for label, normalized_label in labels:
        assert normalized(label) == normalized(normalized_label)
        assert normalized(to_latex(tokenize(normalized_label))) == normalized(normalized_label)
