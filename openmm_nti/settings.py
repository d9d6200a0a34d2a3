"""`Settings`: the base of everything that a user configures, with what no value may be."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 1e12  # of any number without a smaller limit of its own


class Settings(BaseModel):
    """Settings that know their keys, with numbers that are finite and of a size that makes sense.

    Raises
    ------
    pydantic.ValidationError
        For an unknown key, NaN, an infinite or huge number, or `true` in the place of a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _sensible(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and bool not in (field.annotation, *get_args(field.annotation)):
            raise ValueError(f"{str(value).lower()} stands where a number or a text is expected")
        limited = any(hasattr(limit, "le") or hasattr(limit, "lt") for limit in field.metadata)
        if isinstance(value, int | float) and not limited and LARGEST < abs(value) < float("inf"):
            raise ValueError(f"is beyond any sensible size, {LARGEST:g}")
        return value
