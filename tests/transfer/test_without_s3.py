"""A deployment that was installed without what exports to S3 need says so."""

from __future__ import annotations

import sys

import pytest

from tests.transfer.office import TransferOffice


async def test_an_export_to_s3_says_what_is_to_be_installed(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("aiobotocore", "aiobotocore.config", "aiobotocore.session", "botocore", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    credentials = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret"}
    bucket = {"name": "Bucket", "provider_type": "s3", "encrypted_secret_data": credentials}
    connection = await office.account.post("/connections", bucket)
    target = {"bucket": "exports", "region": "eu-central-1"}
    schedule = await office.schedule("invoice", connection["id"], job_config=target)
    window = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"}
    task = await office.export(schedule, **window)
    assert task["task_status"] == "FAILED"
    assert task["error_summary"] == "Exports to S3 need the package aiobotocore: install farthing[s3]"
