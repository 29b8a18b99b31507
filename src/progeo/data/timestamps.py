"""When a photo was taken: one text form for all sources, ISO 8601 with as much as is known.

For example ``2013-11``, ``2023-04-06``, ``2023-04-06T10:19:05.250+02:00``. Such texts sort by the time on the clock,
and a shorter one is the start of all times within it. Without an offset it is the local time of the place.
"""

from __future__ import annotations

import polars as pl

PATTERN = (
    r"^((?:18|19|20|21)\d\d)[-:]?(\d\d)"  # year and month
    r"(?:[-:]?(\d\d)"  # day
    r"(?:[ T_-]?(\d\d):?(\d\d)(?::?(\d\d)(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?)?$"  # time, offset
)
EPOCH = r"^(1\d{9}|1\d{12})$"
"""Seconds or milliseconds since 1970, from September 2001 to May 2033."""


def normalise_timestamps(text: pl.Expr) -> pl.Expr:
    """Bring times of day and dates into ISO 8601.

    Understood are the forms of SF-XL names (``201311``, ``20230406``), EXIF (``2023:04:06 10:19:05``), ISO 8601 itself
    with or without punctuation, and seconds or milliseconds since 1970. Any other text stays as it is.
    """
    parts = text.str.strip_chars().str.extract_groups(PATTERN).struct
    year, month, day, hour, minute, second, fraction, offset = (parts.field(str(k)) for k in range(1, 9))
    date = pl.concat_str(year, month, day.fill_null("01")).str.to_date("%Y%m%d", strict=False)
    clock = pl.concat_str(hour.fill_null("00"), minute.fill_null("00"), second.fill_null("00"))
    is_valid = date.is_not_null() & clock.str.to_time("%H%M%S", strict=False).is_not_null()
    iso = pl.concat_str(
        year + "-" + month,
        "-" + day,
        "T" + hour + ":" + minute,
        ":" + second,
        fraction,
        offset.str.replace(r"^([+-]\d\d)(\d\d)$", "${1}:${2}"),
        ignore_nulls=True,
    )
    epoch = text.str.extract(EPOCH).cast(pl.Int64)
    moment = pl.from_epoch(pl.when(epoch < 10**10).then(epoch * 1000).otherwise(epoch), "ms")
    utc = moment.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").str.replace(".000Z", "Z", literal=True)
    return pl.when(is_valid).then(iso).when(epoch.is_not_null()).then(utc).otherwise(text)


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
