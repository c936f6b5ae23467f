"""Regular expressions and checks for the kinds of personal data that `redaction` looks for.

A pattern finds candidates, and a check accepts or rejects each of them: by a checksum (mostly of python-stdnum),
by numbering plans (phonenumbers), or by the words before it. All patterns take time linear in the length
of the text: a repetition is bounded, or can only start where a run of the characters that it matches starts.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import pairwise

Span = tuple[int, int]
Check = Callable[[re.Match[str]], Span | None]
"""Takes a candidate; returns the span of the personal data, or None to reject the candidate."""

NATIONAL = {"US": 1, "GB": 44, "DE": 49, "AT": 43, "CH": 41, "FR": 33, "CN": 86}
"""Regions whose phone numbers are found without a country code, and the country code of each."""
SHORTEST_NUMBER, MOST_DIGITS = 6, 15
"""A phone number has more characters than the first, and at most as many digits (E.164) as the second."""
LONGEST_LOCAL_PART = 64
"""Maximum number of characters before the @ of an email address (RFC 5321)."""
CONTEXT = 32
"""Number of characters before a candidate that are searched for words, and on each side of a displayed sample."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A pattern begins with characters that are rare in prose, since `re` skips to them fast. What may not come
# before these characters is checked after them, by a lookbehind.
ALONE = r"(?<![A-Za-z0-9].)"
LATIN = "A-Za-z0-9À-ɏ\u0300-\u036fḀ-ỿ"
LOCAL_PART = re.compile(rf"[{LATIN}._%+'-]+")
EMAIL = re.compile(
    rf"@(?<=[{LATIN}_+%'-]@)(?:[{LATIN}][{LATIN}-]{{0,62}}\.){{1,8}}"
    rf"(?:xn--[A-Za-z0-9-]{{1,59}}|[A-Za-z]{{2,24}})(?![{LATIN}])"
)
URL = re.compile(
    r"://(?P<user>[^\s/?#:@<>\"'`{}]{0,128}:[^\s/?#<>\"'`{}]{1,256})(?=@)"
    r"|[?&;](?:(?:access|auth|id|refresh)_token|token|api_?key|secret|client_secret|password|passwd"
    r"|pwd|signature)=(?P<value>[^\s&#<>\"'`{}$]{6,2048})",
    re.IGNORECASE,
)
KEY = re.compile(
    "|".join(
        form[0] + r"(?<![A-Za-z0-9_-].)" + form[1:] + r"(?![A-Za-z0-9_-])"
        for form in (
            r"gh[pousr]_[A-Za-z0-9]{36,255}+",
            r"github_pat_[A-Za-z0-9_]{40,255}+",
            r"glpat-[\w-]{20,64}+",
            r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}",
            r"xox[abeoprs]-[A-Za-z0-9-]{20,255}+",
            r"xapp-[A-Za-z0-9-]{20,255}+",
            r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/]{30,200}+",
            r"sk_(?:live|test)_[A-Za-z0-9]{16,255}+",
            r"rk_(?:live|test)_[A-Za-z0-9]{16,255}+",
            r"whsec_[A-Za-z0-9+/=]{24,255}+",
            r"AIza[\w-]{35}",
            r"ya29\.[\w-]{20,512}+",
            r"GOCSPX-[\w-]{28}",
            r"sk-[A-Za-z0-9_-]{20,255}+",
            r"hf_[A-Za-z0-9]{30,64}+",
            r"npm_[A-Za-z0-9]{36}",
            r"pypi-AgE[\w-]{50,512}+",
            r"eyJ[\w-]{8,4096}+\.eyJ[\w-]{8,8192}+\.[\w-]{8,2048}+",
        )
    )
    + r"|-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:(?:[^-]|-(?!----)){16,16384}+"
    r"-----END [A-Z0-9 ]{1,60}-----|(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]{16,80})+)",
    re.ASCII,
)
AWS_SECRET = re.compile(
    r"aws_?secret_?(?:access_?)?key[\"' ]{0,2}[=:][\"' ]{0,2}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])", re.IGNORECASE
)
# The match begins at the check digits; `_iban` adds the country code before them.
IBAN = re.compile(r"[0-9](?<=\b[A-Za-z]{2}.)[0-9](?:[ -]?[A-Za-z0-9]{4}){2}", re.ASCII)
RESIDENT_ID = re.compile(
    rf"[1-8]{ALONE}[0-9]{{5}}(?:19|20)[0-9]{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{{3}}"
    r"[0-9Xx](?![A-Za-z0-9])"
)
CARD = re.compile(
    rf"[2-6]{ALONE}(?<![0-9][.-].)(?:[0-9]{{3}}([ -])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}(?:\1[0-9]{{3}})?"
    r"|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{12,18})(?![A-Za-z0-9])(?![.-][0-9])"
)
ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}"
    r"|27[01][0-9]|2720)[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}"
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2}|35(?:2[89]|[3-8][0-9]))[0-9]{12}|62[0-9]{14,17}"
)
"""Prefixes and lengths of Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay."""
SSN = re.compile(
    rf"[0-8]{ALONE}(?<![0-9][.-].)(?!(?<=0)00|(?<=6)66)[0-9]{{2}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}"
    r"(?![A-Za-z0-9])(?!-[0-9])"
)
MAC = re.compile(
    rf"[0-9a-f]{ALONE}(?<![:-].)(?:[0-9a-f]([:-])(?:[0-9a-f]{{2}}\1){{4}}[0-9a-f]{{2}}"
    r"|[0-9a-f]{3}\.[0-9a-f]{4}\.[0-9a-f]{4})(?![A-Za-z0-9]|[:.-][0-9a-f])",
    re.IGNORECASE,
)
DIGIT = re.compile("[0-9]")
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = re.compile(
    r"[0-9](?<![A-Za-z0-9_.].)(?<![A-Za-z_][-/].)[0-9]{0,2}"
    rf"(?:\.{OCTET}){{3}}(?![A-Za-z0-9_])(?!\.[A-Za-z0-9])"
)
IPV6 = re.compile(
    r"[0-9a-f:](?<![A-Za-z0-9_:.].)(?=[0-9a-f]{0,3}:)[0-9a-f:]{2,38}+"
    r"(?:[0-9]{0,3}(?:\.[0-9]{1,3}){3})?(?![A-Za-z0-9_:])",
    re.IGNORECASE,
)
VERSION_WORDS = _words(
    "v ver version versions release released build firmware rev revision driver sdk package section sections "
    "chapter oid upgrade upgraded update updated install installed abschnitt kapitel 版本"
)
NETWORK_WORDS = _words(
    "ip ips addr address adresse host server client from gateway ping dns peer remote listen connect "
    "connection connected ssh subnet router via src dst allow deny 地址"
)
SMALL_OCTETS = 40
"""If all four numbers are below this, they may be a version or a section number instead of an IP address."""
PHONE = re.compile(
    r"[+(0-9](?<![A-Za-z0-9_+].)(?<![0-9][.:/].)(?<![0-9a-f]-.)(?:"
    r"(?P<international>(?:(?<=\+)|(?<=0)0)[1-9][0-9 ()./-]{6,24}[0-9])"
    r"|(?P<nanp>(?:(?<=1)[ .-]\(?[2-9]|(?<=\()[2-9]|(?<=[2-9]))[0-9]{2}(?:\) ?|(?P<sep>[ .-]))"
    r"[2-9][0-9]{2}[. -][0-9]{4})"
    r"|(?P<cn>(?<=1)[3-9][0-9](?P<gap>[ -]?)[0-9]{4}(?P=gap)[0-9]{4})"
    r"|(?P<pairs>(?<=0)[1-9](?:[ .-][0-9]{2}){4})"
    r"|(?P<trunk>(?:(?<=0)|(?<=\()0)[1-9](?![/-][0-9]{2}[/-](?:19|20)[0-9]{2}\b)[0-9 ()/-]{6,18}[0-9])"
    r"|(?P<bare>(?<=[2-9])[0-9]{2,4}[ -]?[0-9]{3,4}[ -]?[0-9]{3,4})"
    r")(?![A-Za-z0-9_])(?![.:/][0-9]|-[0-9A-Za-z])"
)
PHONE_WORDS = _words(
    "tel phone telephone telefon fax telefax mobil mobile handy cell call dial text hotline whatsapp "
    "sms rufen rufnummer anruf 电话 手机 热线 致电 拨打 传真 電話 手機 熱線 傳真"
)
WORD = re.compile("[a-zäöü]+")
PAIR = re.compile("[0-9]{2}")
SEPARATORS = str.maketrans("", "", " ()./+-")
TRUNK = re.compile(r"\(?0[1-9][0-9]{1,4}(?:\) ?| ?[/-] ?| )[0-9][0-9 -]{4,}")
"""A phone number whose area code is separated from the rest."""


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - CONTEXT) : match.start()].lower()


def _has_word(text: str, words: frozenset[str]) -> bool:
    """Whether a text contains one of the words; Chinese words are matched as substrings."""
    if not words.isdisjoint(WORD.findall(text)):
        return True
    return not text.isascii() and any(word in text for word in words if not word.isascii())


def _url(match: re.Match[str]) -> Span:
    start, end = match.span("user" if match["user"] is not None else "value")
    return start + (match.string[start] == ":"), end


def _key(match: re.Match[str]) -> Span | None:
    if match[0][:3] == "sk-":
        # A key has a long part of random characters, unlike words joined by hyphens.
        longest = max(re.split("[-_]", match[0]), key=len)
        if len(longest) < 16 or longest.isalpha():
            return None
    return match.span()


def _email(match: re.Match[str]) -> Span | None:
    text, at = match.string, match.start()
    beginning = text[max(0, at - LONGEST_LOCAL_PART - 1) : at]
    reversed_local = LOCAL_PART.match(beginning[::-1])
    local = reversed_local[0][::-1].lstrip(".'-") if reversed_local else ""
    start = at - len(local)
    is_remote = local == "git" or text[max(0, start - 3) : start] == "://"
    is_path = text[match.end() : match.end() + 2] in (":/", ":~")
    if not local or len(local) > LONGEST_LOCAL_PART or is_remote or is_path:
        return None
    return start, match.end()


@cache
def _iban_form(country: str) -> re.Pattern[str] | None:
    """Pattern of the IBANs of a country, which all have the same length; None if the country has no IBANs."""
    from stdnum import numdb

    structure = numdb.get("iban").info(country)[0][1].get("bban")
    if structure is None:
        return None
    length = 2 + sum(map(int, re.findall("[0-9]+", structure)))
    return re.compile(rf"[A-Za-z]{{2}}(?:[ -]?[A-Za-z0-9]){{{length}}}(?![A-Za-z0-9])")


def _iban(match: re.Match[str]) -> Span | None:
    from stdnum import iban

    text, start = match.string, match.start() - 2
    form = _iban_form(text[start : start + 2].upper())
    candidate = form.match(text, start) if form is not None else None
    return candidate.span() if candidate is not None and iban.is_valid(candidate[0]) else None


def _resident_id(match: re.Match[str]) -> Span | None:
    # stdnum.cn.ric refuses people who are older than the district that they are registered in.
    from stdnum.iso7064 import mod_11_2

    return match.span() if mod_11_2.is_valid(match[0].upper()) else None


def _card(match: re.Match[str]) -> Span | None:
    number = match[0]
    has_fifth_group = match[1] is not None and len(number) == 23  # the last group may be the security code of the card
    for length in (23, 19) if has_fifth_group else (len(number),):
        digits = number[:length].translate(SEPARATORS)
        if ISSUERS.fullmatch(digits) and _luhn_is_valid(digits):
            return match.start(), match.start() + length
    return None


def _luhn_is_valid(digits: str) -> bool:
    """Whether the checksum of a card number is right, without python-stdnum, which is optional."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def _mac(match: re.Match[str]) -> Span | None:
    is_colons = match[1] == ":"
    has_letter = any(c in "abcdef" for c in match[0].lower())
    return match.span() if has_letter or is_colons else None


def _ipv4(match: re.Match[str]) -> Span | None:
    octets = [int(octet) for octet in match[0].split(".")]
    if octets[0] in (127, 255) or octets[0] > 255 or not any(octets):
        return None  # loopback, broadcast, all zeros, or not an address
    before = _before(match)
    if before.rstrip().endswith("==") or _has_word(before, VERSION_WORDS):
        return None
    if octets[0] != 10 and max(octets) < SMALL_OCTETS:
        after = match.string[match.end() : match.end() + 2]
        is_endpoint = after[:1] in ("/", ":") and after[1:].isdigit()
        is_endpoint |= before.endswith("//") or _has_word(before, NETWORK_WORDS)
        return match.span() if is_endpoint else None
    return match.span()


def _ipv6(match: re.Match[str]) -> Span | None:
    # Without a group of three or more characters and a digit it may be code, such as `add::add`.
    if not any(len(group) > 2 for group in match[0].split(":")) or not DIGIT.search(match[0]):
        return None
    try:
        socket.inet_pton(socket.AF_INET6, match[0])
    except OSError:
        return None
    return match.span()


@cache
def _national_numbers(code: int, region: str | None = None) -> re.Pattern[str]:
    """Pattern of the national numbers of a region, or of all regions with a country code.

    It is compiled from the numbering plans of phonenumbers, whose own parser takes 50 times as long.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    kinds = ("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip", "uan")
    regions = [region] if region else COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    plans = [PhoneMetadata.metadata_for_region_or_calling_code(code, name) for name in regions]
    patterns = [
        description.national_number_pattern
        for description in (getattr(plan, kind) for plan in plans for kind in kinds)
        if description is not None and description.national_number_pattern
    ]
    return re.compile("|".join(f"(?:{pattern})" for pattern in dict.fromkeys(patterns)))


@cache
def _national_prefix(region: str) -> re.Pattern[str]:
    """Pattern of the prefix that is dialled before a national number."""
    from phonenumbers import PhoneMetadata

    plan = PhoneMetadata.metadata_for_region(region)
    assert plan is not None  # all regions of NATIONAL have a plan
    return re.compile(plan.national_prefix_for_parsing or "")


def _is_international(digits: str) -> bool:
    """Whether digits that begin with a country code are a phone number."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    for length in (1, 2, 3):
        code, rest = int(digits[:length]), digits[length:]
        if code in COUNTRY_CODE_TO_REGION_CODE:
            # Also without a 0 after the country code, as in +44 (0)20 …; some national numbers do begin with 0.
            forms = (rest, rest.removeprefix("0"))
            return any(_national_numbers(code).fullmatch(form) is not None for form in forms)
    return False


def _is_national(digits: str, regions: Iterable[str] = NATIONAL) -> bool:
    """Whether digits are a phone number as it is dialled within one of the regions."""
    for region in regions:
        prefix = _national_prefix(region).match(digits)
        numbers = _national_numbers(NATIONAL[region], region)
        if numbers.fullmatch(digits, prefix.end() if prefix else 0):
            return True
    return False


def _phone(match: re.Match[str]) -> Span | None:
    text, form = match[0], match.lastgroup
    before = _before(match)
    # The candidate may be a group of a longer number, such as `4444 4444 4444 4444`.
    is_part = before[-1:] == " " and before[-2:-1].isdigit()
    if is_part and form == "bare":
        return None
    if form == "pairs" and {b - a for a, b in pairwise(map(int, PAIR.findall(text)))} == {1}:
        return None  # consecutive numbers, such as the days of a calendar
    is_announced = _has_word(before, PHONE_WORDS)
    is_grouped = True
    if form == "international":
        is_number = _is_international
        is_grouped = text[0] == "+" or not text.isdigit()
    elif form == "nanp":
        is_number = partial(_is_national, regions=("US",))
        is_grouped = match["sep"] != " "
    elif form == "cn":
        is_number = partial(_is_national, regions=("CN",))
    else:
        is_number = _is_national
        is_grouped = form == "pairs" or (form == "trunk" and TRUNK.match(text) is not None)
        is_grouped &= not is_part
    if not is_grouped and not is_announced:
        return None
    while len(text) > SHORTEST_NUMBER:
        digits = text.translate(SEPARATORS)
        if form == "international" and text[0] == "0":
            digits = digits[2:]
        if len(digits) <= MOST_DIGITS and is_number(digits):
            return match.start(), match.start() + len(text)
        # Try again without the last group, which may belong to another number.
        text = text.rstrip("0123456789").rstrip(" ()./-")
    return None


SEARCHES: dict[str, list[tuple[re.Pattern[str], Check]]] = {
    "url": [(URL, _url)],
    "key": [(KEY, _key), (AWS_SECRET, lambda match: match.span(1))],
    "email": [(EMAIL, _email)],
    "iban": [(IBAN, _iban)],
    "resident_id": [(RESIDENT_ID, _resident_id)],
    "card": [(CARD, _card)],
    "ssn": [(SSN, re.Match.span)],
    "mac": [(MAC, _mac)],
    "ip": [(IPV4, _ipv4), (IPV6, _ipv6)],
    "phone": [(PHONE, _phone)],
}
"""Patterns and their checks by kind, in search order. Text that one kind has found is hidden from the later ones."""
