"""Number format of the computation: float32, or bfloat16 where the hardware supports it."""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
_FABRIC_NAMES = {"fp32": "32-true", "bf16": "bf16-mixed"}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def resolve_precision(setting: Literal["auto", "fp32", "bf16"]) -> Precision:
    """Precision of a setting; `auto` is bf16 where the CPU or GPU supports it in hardware, else fp32."""
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if cpu_computes_bf16() else "fp32"


def cpu_computes_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX-512 BF16 or AMX); emulation is slower than fp32."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            flags = next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def fabric_name(precision: Precision) -> Literal["32-true", "bf16-mixed"]:
    """Lightning Fabric's name of a precision."""
    return _FABRIC_NAMES[precision]  # type: ignore[return-value]


def dtype_of(precision: Precision) -> torch.dtype:
    """Data type of the large matrix products; trained weights stay float32."""
    return _DTYPES[precision]
