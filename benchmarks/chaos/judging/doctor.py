"""`farthing doctor`, run beside the service as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.service.deployment import MASTER_KEY, Deployment

DOCTOR_SECONDS = 300
SHOWN = 5


async def run_doctor(deployment: Deployment, findings: Findings) -> int:
    """How many differences it names; each of the first is a finding."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")},
        "FARTHING_DATABASE_URL": deployment.postgres.url(),
        "FARTHING_SECRET_KEY": MASTER_KEY,
        "FARTHING_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "farthing", "doctor"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), DOCTOR_SECONDS)
    except TimeoutError:
        process.kill()
        findings.add(Defect.DOCTOR, f"did not end within {DOCTOR_SECONDS} s")
        return 1
    if process.returncode == 0:
        return 0
    text = output.decode(errors="replace")
    counted = re.search(r"^differences\s+([\d,]+)", text, re.MULTILINE)
    differences = int(counted[1].replace(",", "")) if counted else 0
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    for line in lines[:SHOWN] or text.splitlines()[-SHOWN:]:
        findings.add(Defect.DOCTOR, line)
    if len(lines) > SHOWN:
        kinds = Counter(" ".join(line.split()[1:3]) for line in lines)
        findings.add(Defect.DOCTOR, f"{differences} differences in all: {dict(kinds)}")
    return max(differences, 1)
