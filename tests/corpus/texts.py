"""Generated text for tests that need more variety than the shared corpus has."""

import os
import random
import textwrap
from pathlib import Path

SYLLABLES = ["ka", "lo", "mi", "ser", "tan", "du", "vel", "or", "ith", "gra"]
THAI = (  # noqa: SIM905 (lists of strings would fill the screen)
    "ฉัน คุณ เขา เรา กิน ข้าว น้ำ ไป มา ที่ บ้าน โรงเรียน ตลาด วันนี้ พรุ่งนี้ เมื่อวาน อากาศ ดี ร้อน หนาว มาก "
    "แมว หมา นก ต้นไม้ ดอกไม้ หนังสือ อ่าน เขียน พูด ภาษา ไทย รัก ชอบ เห็น ซื้อ ขาย รถ ถนน เมือง ประเทศ"
).split()
JAPANESE = (  # noqa: SIM905
    "私 は が を に で と も 今日 明日 昨日 学校 先生 学生 本 読む 書く 話す 食べる 飲む 水 ご飯 猫 犬 鳥 木 花 "
    "東京 大阪 電車 駅 行きます 来ました です ます から まで とても 大きい 小さい テレビ コーヒー カメラ"
).split()
FINNISH = (  # noqa: SIM905
    "tämä on lause järvestä ja metsästä pitkä talvi kylmä tuuli sininen taivas vanha talo suuri "
    "joki pieni saari nuori kalastaja heräsi aikaisin aamulla keitti kahvia luki sanomalehteä"
).split()


def make_text(documents: int, seed: int = 0) -> str:
    """Documents of a few lines, a blank line between them."""
    chooser = random.Random(seed)

    def word() -> str:
        return "".join(chooser.choices(SYLLABLES, k=chooser.randint(1, 4)))

    def line() -> str:
        return " ".join(word() for _ in range(chooser.randint(3, 25))) + "."

    return "\n\n".join("\n".join(line() for _ in range(chooser.randint(1, 6))) for _ in range(documents))


def make_words(words: list[str], documents: int, between: str = "", end: str = " ") -> str:
    """Documents of sentences of these words, a blank line between documents."""
    chooser = random.Random(0)

    def sentence() -> str:
        return between.join(chooser.choices(words, k=chooser.randint(6, 60))) + end

    return "\n\n".join("".join(sentence() for _ in range(chooser.randint(2, 6))) for _ in range(documents))


def make_proteins(count: int) -> str:
    """Sequences of amino acids, one per line."""
    chooser = random.Random(0)
    return "\n".join(
        "".join(chooser.choices("ACDEFGHIKLMNPQRSTVWY", k=chooser.randint(150, 400))) for _ in range(count)
    )


def make_code() -> str:
    """Python source code: two modules of the standard library, a blank line between documents."""
    functions = [
        part.strip("\n")
        for module in (textwrap, random)
        for part in Path(module.__file__).read_text(encoding="utf-8").split("\n\n")
    ]
    return "\n\n".join(functions)


def die(texts: list[str], chunk: int) -> None:
    """Exit like a killed worker; this module lets a new process import little."""
    os._exit(1)
