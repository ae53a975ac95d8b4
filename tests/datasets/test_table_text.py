"""How the text of tables is encoded."""

from __future__ import annotations

import pytest

from dnnlib import UserError
from training.datasets.tables.text import open_text

TEXTS = {
    "German": "image;Kategorie\na.jpg;Kleid für 5 €\nb.jpg;Röcke\nc.jpg;Schürze\n",
    "French": "image,category\na.jpg,Vêtements d’été\nb.jpg,Chaussures à lacets\n",
    "Spanish": "image,category\na.jpg,Niños\nb.jpg,Cinturón\n",
    "signs": "image,category\na.jpg,Levi’s® Jeans – 20 cm\n",
    "Polish": "image,category\na.jpg,Spódnica łączona\nb.jpg,Żakiet\n",
    "Russian": "image,category\na.jpg,Платье\nb.jpg,Юбка синяя\n",
    "Japanese": "画像,カテゴリ\na.jpg,レディース/ワンピース\nb.jpg,靴下\n",
    "Chinese": "图片,类别\na.jpg,女装/连衣裙\nb.jpg,鞋子\n",
    "Taiwanese": "image,category\na.jpg,連身裙\nb.jpg,鞋子\n",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")


def read(path, **options):
    text = open_text(str(path), path.name, **options)
    return "".join(text.lines()).lstrip("\ufeff"), text.encoding


@pytest.mark.parametrize("language", TEXTS)
def test_unicode(tmp_path, language, capsys):
    for encoding in UNICODE:
        (tmp_path / "t.csv").write_bytes(TEXTS[language].encode(encoding))
        assert read(tmp_path / "t.csv")[0] == TEXTS[language], encoding
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("German", "cp1252"),
        ("French", "cp1252"),
        ("French", "mac_roman"),
        ("Spanish", "latin_1"),
        ("Spanish", "mac_roman"),
        ("signs", "cp1252"),
        ("signs", "mac_roman"),
        ("Polish", "cp1250"),
        ("Russian", "cp1251"),
        ("Russian", "koi8_r"),
        ("Japanese", "shift_jis"),
        ("Japanese", "euc_jp"),
        ("Chinese", "gbk"),
        ("Taiwanese", "big5"),
    ],
)
def test_other_encodings_are_found_and_said(tmp_path, language, encoding, capsys):
    text = TEXTS[language]
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    found, name = read(tmp_path / "t.csv")
    assert found == text, name
    assert f"t.csv: read as {name}; --table-encoding names another" in capsys.readouterr().err
    assert read(tmp_path / "t.csv", encoding=encoding)[0] == text


def test_what_cannot_be_told_is_asked_for(tmp_path):
    (tmp_path / "t.csv").write_bytes("file,label\na.jpg,원피스\n".encode("euc_kr"))
    words = r"encoding cannot be told: .*cp949 reads '.*원피스'.*gb18030 reads .* --table-encoding"
    with pytest.raises(UserError, match=words):
        read(tmp_path / "t.csv")
    assert "원피스" in read(tmp_path / "t.csv", encoding="euc_kr")[0]
    (tmp_path / "t.csv").write_bytes(bytes(range(128, 256)) * 20)
    with pytest.raises(UserError, match="--table-encoding"):
        read(tmp_path / "t.csv")
    for name in ("klingon", "rot13", "base64", "zlib", "a\0b", "idna" * 30):
        with pytest.raises(UserError, match=r"--table-encoding=.* is not known"):
            read(tmp_path / "t.csv", encoding=name)


def test_damaged_characters_are_reported(tmp_path, capsys):
    row = "a.jpg,Größe\n".encode()
    (tmp_path / "t.csv").write_bytes(b"image,category\n" + row * 9 + b"b.jpg,Gr\xf6\xdfe\n")
    found, encoding = read(tmp_path / "t.csv")
    assert encoding == "utf-8" and found.count("Größe") == 9
    assert "2 characters are damaged or not utf-8, first in line 11" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("image,category\na.jpg,Gr\ufffd\ufffde\n")
    read(tmp_path / "t.csv")
    assert "2 characters are damaged" in capsys.readouterr().err
