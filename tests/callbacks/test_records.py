"""Records of the callbacks."""

from dataclasses import FrozenInstanceError, fields

import pytest
from records import records

from memzoo import callbacks

RECORDS = records(callbacks)


@pytest.mark.parametrize("name", RECORDS)
def test_records_cannot_be_changed(name):
    kind = RECORDS[name]
    record = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(record, fields(kind)[0].name, None)
