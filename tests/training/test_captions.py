from __future__ import annotations

import csv
from pathlib import Path

import pytest

from inktex.core.errors import DataError
from inktex.core.vocabulary import Vocabulary
from inktex.training.captions import (
    CaptionTable,
    caption_tokens,
    read_caption_table,
    read_captions,
)
from inktex.training.import_report import Skip


def table(tmp_path: Path, text: str, **columns: str) -> dict[str, str]:
    path = tmp_path / "captions"
    path.write_text(text, encoding="utf-8")
    return read_caption_table(path, **columns).texts


@pytest.mark.parametrize(
    "text",
    [
        "a\tx^2\nb\ty\n",  # CROHME: identifiers
        "a.png\tx^2\n\nb.png\ty",
        "\ufeffa.jpg\tx^2\r\nb.jpg\ty\r\n",
        "x^2\tfolder/a.JPG\ny\tfolder/b.JPG\n",  # the files second
        "image\tformula\na.png\tx^2\nb.png\ty\n",
        "formula,image\nx^2,a.png\ny,b.png\n",  # im2latex
        'Formula,Image,Split\n"x^2",a.png,train\ny,b.png,test\n',
        "a,x^2\nb,y\n",
    ],
)
def test_tables_are_read_as_they_are_distributed(tmp_path: Path, text: str) -> None:
    assert table(tmp_path, text) == {"a": "x^2", "b": "y"}


def test_quotes_count_between_commas_and_between_tabs_around_all(tmp_path: Path) -> None:
    assert table(tmp_path, 'image,formula\na,"f(x, y) ""z"""\n') == {"a": 'f(x, y) "z"'}
    assert table(tmp_path, 'a\t" x , y\nb\t"z" "u"\n') == {"a": '" x , y', "b": '"z" "u"'}
    assert table(tmp_path, 'a\t"f(x, y)"\nb\t"a ""z"""\n') == {"a": "f(x, y)", "b": 'a "z"'}


def test_captions_may_hold_what_other_forms_begin_with(tmp_path: Path) -> None:
    for text in ("{x}", "[1]", "[[1]]", "x;y", "{;", "["):
        for separator in "\t,":
            assert table(tmp_path, f"{text}{separator}a.png\n") == {"a": text}
            assert table(tmp_path, f"a.png{separator}{text}\n") == {"a": text}


def test_a_control_space_at_the_end_stays(tmp_path: Path) -> None:
    assert table(tmp_path, 'a,"x\\ "\nb, y \n') == {"a": "x\\ ", "b": "y"}


@pytest.mark.parametrize("first", ["a.png,f(x,y)", "a.png,z", 'a.png, "f(x,y)"'])
def test_a_caption_is_not_cut_off_at_its_comma(tmp_path: Path, first: str) -> None:
    for second in ("b.png,(a,b)", "b.png,(a,b),"):
        with pytest.raises(DataError, match=r"expected 2 cells.*a caption with commas in quotes"):
            table(tmp_path, f"{first}\n{second}\n")
    assert table(tmp_path, 'a, "x,y"\nb, z\n') == {"a": "x,y", "b": "z"}
    wide = "a,x,train\nb,y,test\n"
    assert table(tmp_path, wide, image_column="1") == {"a": "x", "b": "y"}
    for separator, put in ((",", "put a caption with"), ("\t", "leave tabs out")):
        told = rf"expected 2 cells, found 3; {put}.*, or name the columns, .* with --image-column"
        with pytest.raises(DataError, match=told):
            table(tmp_path, wide.replace(",", separator))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    def matched(text: str, *names: str) -> tuple[dict[str, str], list[str]]:
        path = tmp_path / "captions.tsv"
        path.write_text(text)
        told, captions, left = read_caption_table(path).of_files(names)
        found = {}
        for name, identifier in told.items():
            try:
                found[name] = f"{identifier}: {captions.text(identifier)}"
            except Skip as why:
                found[name] = str(why)
        return found, left

    both = "a/1.png\tx\nb/1.png\ty\n"
    assert matched(both, "ds/a/1.png", "ds/b/1.png") == (
        {"ds/a/1.png": "ds/a/1: x", "ds/b/1.png": "ds/b/1: y"},
        [],
    )
    assert matched("a.png.png\tx\n", "a.png.png") == ({"a.png.png": "a.png: x"}, [])
    assert matched(both, "b/1.png") == ({"b/1.png": "1: y"}, ["a/1"])
    one, other = ("b/1.png\ty\n", "other folders")
    found, _ = matched(one, "a/1.png", "b/1.png")
    assert found["b/1.png"] == "b/1: y"
    assert other in found["a/1.png"]
    # where there is nothing to be mixed up, folders may be called otherwise
    assert matched("images/1.png\tx\n", "scans/1.png") == ({"scans/1.png": "1: x"}, [])
    assert other in matched(both, "c/1.png")[0]["c/1.png"]
    assert matched("1\tx\n2\ty\n", "a/1.png", "b/1.png")[1] == ["2"]


def test_columns_can_be_named_or_numbered(tmp_path: Path) -> None:
    text = "id,raw,latex,page\n1,x,y,p.png\n"
    assert table(tmp_path, text) == {"1": "y"}
    assert table(tmp_path, text, caption_column="RAW") == {"1": "x"}
    assert table(tmp_path, text, image_column="page", caption_column="2") == {"p": "x"}
    headless = "x\t1\tp.png\n"
    with pytest.raises(DataError, match="expected 2 cells, found 3"):
        table(tmp_path, headless)
    assert table(tmp_path, headless, image_column="2") == {"1": "x"}
    assert table(tmp_path, headless, caption_column="2") == {"p": "1"}
    for wrong in ("colour", "0", "5"):
        with pytest.raises(DataError, match=f"expected a column '{wrong}', found 'id', 'raw'"):
            table(tmp_path, text, caption_column=wrong)


def test_a_name_that_stands_twice_is_ambiguous_only_where_the_captions_differ(
    tmp_path: Path,
) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text("a\tx\nb\ty\na.png\tx\nb.png\tz\n")
    found = read_caption_table(path)
    assert found.text("a") == "x"
    with pytest.raises(Skip, match="the captions name it twice, and differ"):
        found.text("b")
    with pytest.raises(Skip, match="no caption of this name"):
        found.text("c")
    with pytest.raises(DataError, match="expected one caption of b, found two that differ"):
        read_captions(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected rows of name and caption, found none"),
        (b"\n \n", "expected rows of name and caption, found none"),
        (b"a\tx\nb y\n", r"captions\.tsv:2: expected a name in column 1 and a caption in column 2"),
        (b"a\tx\n \ty\n", r"captions\.tsv:2: expected a name in column 1"),
        (b"0 60ee748793 basic\n", r"of im2latex take the CSV \(formula,image\)"),
        (b"x ^ { 2 }\n", r"found 'x \^ \{ 2 \}'"),
        (b"a\tx\n\xff\xfe\0\0", "expected text in UTF-8"),
        ("a.png\tx\n".encode("utf-16"), "expected text in UTF-8, .*; save it as UTF-8"),
        ("a.png\t\u00e9\n".encode("latin-1"), "expected text in UTF-8, .*; save it as UTF-8"),
        (b'{"image": "a.png", "latex": "x"}\n', "found JSON; write it as one of these"),
        (b'[{"image": "a.png", "latex": "x"}]\n', "found JSON"),
        (b'[\n {"image": "a.png", "latex": "x"}]\n', "found JSON"),
        (b'\n{\n "a.png": "x"}\n', "found JSON"),
        (b"image;caption\na.png;x\n", "found semicolons; save it with tabs"),
        (b"a.png;f(x,y)\n", "found semicolons"),
        (b"f(x,y);a.png\n", "found semicolons"),
        (b"image,formula\na,f(x,y)\n", r"captions\.tsv:2: expected 2 cells .* found 3; put a"),
        (b'a.png,"x\nb.png,y\n', "whose quotes stand in pairs"),
    ],
)
def test_what_is_no_table_says_why(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "captions.tsv"
    path.write_bytes(content)
    for read in (read_caption_table, read_captions):
        with pytest.raises(DataError, match=told):
            read(path)


def test_a_table_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected captions at .*none\.tsv, found nothing"):
        read_caption_table(tmp_path / "none.tsv")


def test_captions_as_people_write_them_are_brought_to_the_convention(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(
        'a.png,"\\sqrt{x^2,y}",\nb,x ^ { 2 }\nc,one of these\n'
        "d,\\int _ { 0 } ^ { 1 } x\ne,x ^ { 2 } _ 1\n"
    )
    assert read_captions(path) == {
        "d": ("\\int", "\\limits", "_", "{", "0", "}", "^", "{", "1", "}", "x"),
        "e": ("x", "_", "{", "1", "}", "^", "{", "2", "}"),
        "a": ("\\sqrt", "{", "x", "^", "{", "2", "}", ",", "y", "}"),
        "b": ("x", "^", "{", "2", "}"),
        "c": caption_tokens("one of these"),
    }


def test_captions_as_published_are_split_at_spaces(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text('a.png\tx ^ { 2 }\nb\t" \\alpha  + \nc\t\n', encoding="utf-8")
    assert read_captions(path) == {
        "a": ("x", "^", "{", "2", "}"),
        "b": ('"', "\\alpha", "+"),
        "c": (),
    }


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (r"$x^2$", "x ^ { 2 }"),
        (r"\left\{ \dfrac12 \right.", r"\{ \frac { 1 } { 2 }"),
        (r"\begin{bmatrix}1&2\end{bmatrix}", r"[ \begin{matrix} 1 & 2 \end{matrix} ]"),
        ("甲", "甲"),
    ],
)
def test_captions_are_brought_to_the_convention(text: str, tokens: str) -> None:
    assert " ".join(caption_tokens(text)) == tokens


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("x^{2", "the caption cannot be read", "expected '}'"),
        ("x}", "the caption cannot be read", "opening brace"),
        ("x\\", "the caption cannot be read", "after the backslash"),
        (r"\,$$", "the caption is empty", ""),
        (r"a & b", "the caption has rows or columns outside of a matrix", "&"),
        (r"\color{red}x", "the caption holds an unknown token", r"\color"),
        ("50%", "the caption holds an unknown token", "%"),
        (r"\begin{tabular}x\end{tabular}", "the caption holds an unknown token", "tabular"),
        (r"\begin{array}{c|c}x\end{array}", "the caption cannot be read", "rules"),
    ],
)
def test_what_the_convention_cannot_say_is_skipped(text: str, reason: str, detail: str) -> None:
    with pytest.raises(Skip) as caught:
        caption_tokens(text)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_a_vocabulary_says_which_tokens_may_occur() -> None:
    vocabulary = Vocabulary.from_captions([["x", r"\foo"]])
    assert caption_tokens(r"\foo x", vocabulary) == (r"\foo", "x")
    with pytest.raises(Skip, match="unknown token: y"):
        caption_tokens("x y", vocabulary)


def test_a_table_in_memory_is_one_too() -> None:
    assert CaptionTable({"a": "x"}).text("a") == "x"


def test_the_published_captions_are_read_to_the_last(data_root: Path) -> None:
    path = data_root / "crohme" / "images" / "train.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = sum(1 for _ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    captions = read_captions(path)
    assert len(captions) == lines == 8835
    assert len({token for caption in captions.values() for token in caption}) == 109
