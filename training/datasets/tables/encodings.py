"""In which encoding a text is that does not tell: by how plausible it reads."""

from __future__ import annotations

import codecs
import unicodedata

import charset_normalizer

from dnnlib import UserError
from dnnlib.util import one_line

# Encodings of spreadsheet programs, the usual ones first, and the letters that their tables use.
_WESTERN = set("àâäáãåæçèéêëìíîïñòóôöõøœùúûüÿßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜŸªº")
_CENTRAL = set("áäąăâčćçďéęěëíîĺľłňńóôöőŕřšśșşťțţúůűüýžźżđß")
_CENTRAL |= {letter.upper() for letter in _CENTRAL - {"ß"}}
_TURKISH = set("çğıöşüâîûÇĞİÖŞÜÂÎÛ")
_CYRILLIC = {chr(c) for c in range(0x410, 0x450)} | set("ёЁіІїЇєЄґҐ№")
_GREEK = {chr(c) for c in range(0x386, 0x3CF)}
_LETTERS = {
    "cp1252": _WESTERN,
    "mac_roman": _WESTERN,
    "cp1250": _CENTRAL,
    "cp1254": _TURKISH,
    "cp1251": _CYRILLIC,
    "koi8_r": _CYRILLIC,
    "cp1253": _GREEK,
}
# What zip files made on DOS and Windows have, beside these; the first counts of several that fit.
_ZIP_LETTERS = {"cp437": _WESTERN, "cp850": _WESTERN} | _LETTERS
_ZIP_LETTERS |= {"cp866": _CYRILLIC, "cp852": _CENTRAL}
# Chinese, Japanese and Korean: the common characters of each are in one range of lead bytes.
_IDEOGRAPHS = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "big5": ("big5", 0xA4, 0xC6),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}
_SIGNS = set("€£¥©®™°²³½¼¾±×«»“”‘’‚„–—…•·§¿¡´ ")
_WIDE_SIGNS = set("　、。，！？：；（）「」『』【】《》・ー～％／·“”‘’—…￥")
_SURE = 0.9  # share of characters that must be plausible


def encoding_of(sample: bytes, title: str) -> str:
    """The encoding in which a sample reads as text of some language.

    Tables are short, and letters beyond ASCII few in them: charset-normalizer takes German in
    cp1252 for Polish and GBK for Japanese then. So the encodings of spreadsheet programs come
    first, by the letters that their tables use, and the library only where none of them fits.
    """
    text = sample.decode("utf-8", "replace")
    letters = sum(not c.isascii() and c != "\ufffd" for c in text)
    if letters > 4 * text.count("\ufffd"):
        return "utf-8"  # but for a few bytes, which are reported
    scores = {name: _plausible(sample, name) for name in (*_LETTERS, *_IDEOGRAPHS)}
    best = max(scores, key=lambda name: scores[name])
    texts = {
        sample.decode(name, "replace"): name
        for name in reversed(scores)
        if scores[name] == scores[best] >= _SURE
    }
    if len(texts) == 1 or (best == "cp1252" and texts):  # Windows is the most usual by far
        return best
    guess = None if texts else charset_normalizer.from_bytes(sample).best()
    if guess is not None and guess.chaos < 0.1 and guess.coherence > 0.5:
        return guess.encoding
    texts = texts or {sample.decode("cp1252", "replace"): "cp1252"}
    readings = ", ".join(f"{name} reads {one_line(text, 40)!r}" for text, name in texts.items())
    raise UserError(
        f"{title} is not UTF-8, and its encoding cannot be told: {readings}; name it with "
        "--table-encoding, for example cp1252, mac_roman, shift_jis, gb18030 or big5"
    )


def encoding_of_names(sample: bytes) -> str | None:
    """The encoding of names in a zip file, which does not tell; None if none fits."""
    scores = {name: _plausible(sample, name) for name in (*_ZIP_LETTERS, *_IDEOGRAPHS)}
    best = [name for name, score in scores.items() if score == max(scores.values())]
    if scores[best[0]] < _SURE:
        return None
    if best[0] not in _IDEOGRAPHS or len(best) == 1:
        return best[0]
    guess = charset_normalizer.from_bytes(sample, cp_isolation=best).best()
    return guess.encoding if guess is not None else best[0]


def _plausible(sample: bytes, encoding: str) -> float:
    """The share of characters beyond ASCII that a table in this encoding would have there."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    fits = _fits_ideograph if encoding in _IDEOGRAPHS else _fits_letter
    text = f"  {text}  "
    places = [i for i, c in enumerate(text) if not c.isascii()]
    return sum(fits(encoding, text[i - 2 : i + 3]) for i in places) / max(len(places), 1)


def _fits_letter(encoding: str, around: str) -> bool:
    """Whether a table would have the middle one of five characters."""
    _, before, c, after, _ = around
    if c in _SIGNS:
        return not (before.isalpha() and after.isalpha()) or c in "’·"
    if c not in _ZIP_LETTERS[encoding] or (c.isupper() and before.islower()):
        return False
    if encoding in ("cp1251", "koi8_r", "cp1253", "cp866"):
        return not any(n.isascii() and n.isalpha() for n in (before, after))
    # Words of the other languages have letters of the alphabet too.
    is_word = before.isalpha() or after.isalpha()
    return not is_word or any(n.isascii() and n.isalpha() for n in around)


def _fits_ideograph(encoding: str, around: str) -> bool:
    _, before, c, after, _ = around
    if any(n.isascii() and n.islower() for n in (before, after)):
        return False
    name = unicodedata.name(c, "")
    if c in _WIDE_SIGNS or (encoding == "cp949" and name.startswith("HANGUL SYLLABLE")):
        return True
    if encoding in ("cp932", "euc_jp") and name.startswith(("HIRAGANA", "KATAKANA")):
        return True
    if name.startswith("FULLWIDTH"):
        return True
    charset, first, last = _IDEOGRAPHS[encoding]
    try:
        lead = c.encode(charset)[0]
    except UnicodeEncodeError:
        return False
    return encoding != "cp949" and name.startswith("CJK") and first <= lead <= last
