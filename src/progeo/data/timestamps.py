"""When a photo was taken: one text form for all sources, ISO 8601 with as much as is known.

For example ``2013-11``, ``2023-04-06``, ``2023-04-06T10:19:05.250+02:00``. Such texts sort by the time on the clock,
and a shorter one is the start of all times within it. Without an offset it is the local time of the place.
"""

from __future__ import annotations

import polars as pl

OFFSET = r"\s?(Z|z|UTC|GMT|[+-]\d{1,2}(?::?\d\d)?)?"
COMPACT = (
    r"^((?:18|19|20|21)\d\d)[-:]?(\d\d)"  # year and month
    r"(?:[-:]?(\d\d)"  # day
    r"(?:[ T_-]?(\d\d):?(\d\d)(?::?(\d\d)(?:\.(\d+))?)?()" + OFFSET + r")?)?$"  # time of day, offset
)
SPELLED = (
    r"^((?:18|19|20|21)\d\d)[-:/._](\d{1,2})[-:/._](\d{1,2})"
    r"(?:(?:[T_-]|,? ?T?)(\d{1,2})[:._h](\d{1,2})(?:[:._m](\d{1,2})(?:[.,:_](\d+))?)?s?"
    r"(?: ?([AaPp])\.?[Mm]\.?)?" + OFFSET + r")?$"
)
"""The same with signs between all parts, which may then be short, and be followed by am or pm."""
EPOCH = r"^(1\d{9})(\d{3}|\d{6}|\d{9})?(?:\.(\d+))?$"
"""Seconds, milli-, micro- or nanoseconds since 1970, from September 2001 to May 2033."""
OTHER_ORDERS = (
    (r"^(\d{4}-\d\d-\d\d[-_T ]\d\d)-(\d\d)-(\d\d)", "$1:$2:$3"),
    (r"^(\d{1,2})\.(\d{1,2})\.(\d{4})", "$3-$2-$1"),
    # With slashes, day and month come in both orders: only a number that is no month tells which it is.
    (r"^(1[3-9]|2\d|3[01])/(\d{1,2})/(\d{4})", "$3-$2-$1"),
    (r"^(\d{1,2})/(1[3-9]|2\d|3[01])/(\d{4})", "$3-$1-$2"),
    (r"^(?:[A-Za-z]{3,9},? )?(\d{1,2})[ -]([A-Za-z]{3})[a-z]*\.?,?[ -](\d{4})", "$3-$2-$1"),
    (r"^(?:[A-Za-z]{3,9},? )?([A-Za-z]{3})[a-z]*\.? (\d{1,2}),? (\d{4})", "$3-$1-$2"),
    (r"^(?:[A-Za-z]{3} )?([A-Za-z]{3}) (\d{1,2}) ([\d:.]+)(?: (UTC|GMT))? (\d{4})$", "$5-$1-$2 $3$4"),
)
"""Forms with other orders or signs, and what takes their place."""
NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTHS = {f"-{name}-": f"-{number:02}-" for number, name in enumerate(NAMES, 1)}
IS_NORMAL = r"^\d{4}-\d\d"
"""What a text begins with that is a time."""


def normalise_timestamps(text: pl.Expr) -> pl.Expr:
    """Bring times of day and dates into ISO 8601.

    Understood are the forms of SF-XL names (``201311``, ``20230406``), EXIF (``2023:04:06 10:19:05``) and what cameras
    and programs make of it, ISO 8601 with or without punctuation, dates with the names of months, and seconds to
    nanoseconds since 1970. Any other text stays as it is, ``4/6/2023`` too, which can be in April or June.
    """
    return text.map_batches(_normalise, return_dtype=pl.String)


def _normalise(text: pl.Series) -> pl.Series:
    """Bring the usual forms into ISO 8601, and then, which takes longer, the others where there are any."""
    frame = text.str.strip_chars().to_frame("text")
    times = frame.select(_format_parts(pl.col("text"), COMPACT)).to_series()
    others = (times.is_null() & (frame["text"] != "")).fill_null(False)
    if others.any():
        plain = pl.col("text").str.replace_all("\u2212", "-", literal=True).str.replace_all(r"\s+", " ")
        for pattern, order in OTHER_ORDERS:
            plain = plain.str.replace(pattern, order)
        plain = plain.str.replace_many(MONTHS)
        forms = (_format_parts(plain, COMPACT), _format_parts(plain, SPELLED), _format_epoch(pl.col("text")))
        times = times.scatter(others.arg_true(), frame.filter(others).select(pl.coalesce(forms)).to_series())
    return times.fill_null(text).alias(text.name)


def _format_parts(text: pl.Expr, pattern: str) -> pl.Expr:
    """Return in ISO 8601 what a pattern of a time finds in texts; null where that is nothing, or no time."""
    found = text.str.extract_groups(pattern).struct
    year, month, day, hour, minute, second, fraction, half, offset = (found.field(str(k)) for k in range(1, 10))
    month, day = month.str.zfill(2), day.str.zfill(2)
    on_clock = hour.cast(pl.Int32)
    afternoon = pl.when(half.str.to_uppercase() == "P").then(12).when(half.str.to_uppercase() == "A").then(0)
    on_clock = pl.when(afternoon.is_not_null() & (on_clock <= 12)).then(on_clock % 12 + afternoon).otherwise(on_clock)
    date = pl.concat_str(year, month, day.fill_null("01")).str.to_date("%Y%m%d", strict=False)
    minutes, seconds = (part.cast(pl.Int32).fill_null(0) for part in (minute, second))
    in_day = on_clock.fill_null(0) * 3600 + minutes * 60 + seconds
    is_valid = date.is_not_null() & (minutes < 60) & (seconds <= 60) & (in_day <= 86_400)
    # Midnight as 24:00 and leap seconds belong to what follows.
    moment = date.cast(pl.Datetime("us")) + pl.duration(seconds=in_day)
    sign_and_hours = offset.str.replace(r"^([+-])(\d)(:|$)", "${1}0${2}${3}").str.replace(r"^([+-]\d\d)$", "${1}:00")
    iso = pl.concat_str(
        pl.when(day.is_null()).then(moment.dt.strftime("%Y-%m")).otherwise(moment.dt.strftime("%Y-%m-%d")),
        pl.when(hour.is_not_null()).then(moment.dt.strftime("T%H:%M")),
        pl.when(second.is_not_null()).then(moment.dt.strftime(":%S")),
        pl.when(fraction != "").then("." + fraction),
        pl.when(offset.str.contains("[A-Za-z]")).then(pl.lit("Z"))
        .otherwise(sign_and_hours.str.replace(r"^([+-]\d\d)(\d\d)$", "${1}:${2}")),
        ignore_nulls=True,
    )  # fmt: skip
    return pl.when(is_valid).then(iso)


def _format_epoch(text: pl.Expr) -> pl.Expr:
    """Return in ISO 8601 what is a number of seconds since 1970 or parts of them, else null."""
    epoch = text.str.extract_groups(EPOCH).struct
    utc = pl.from_epoch(epoch.field("1").cast(pl.Int64), "s").dt.strftime("%Y-%m-%dT%H:%M:%S")
    digits = (epoch.field("2").fill_null("") + epoch.field("3").fill_null("")).str.strip_chars_end("0")
    return utc + pl.when(digits != "").then("." + digits).otherwise(pl.lit("")) + "Z"


def compact_timestamps(text: pl.Expr) -> pl.Expr:
    """Return normalised times without the signs that file names cannot hold, such as ``20230406T101905+0200``."""
    date, clock = (text.str.splitn("T", 2).struct.field(f"field_{k}") for k in (0, 1))
    compact = date.str.replace_all("-", "") + pl.concat_str(pl.lit("T"), clock.str.replace_all(":", "")).fill_null("")
    return pl.when(text.str.contains(r"^\d{4}-\d\d")).then(compact).otherwise(text)


def parse_timestamps(text: pl.Expr) -> pl.Expr:
    """Return the moment of each normalised time as a Datetime in UTC (local where it has no offset).

    Null where the text has no seconds or is no time at all.
    """
    is_complete = text.str.contains(r"T\d\d:\d\d:\d\d")
    has_offset = text.str.contains(r"(Z|[+-]\d\d:\d\d)$")
    moment = pl.when(is_complete).then(pl.when(has_offset).then(text).otherwise(text + "Z"))
    return moment.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
