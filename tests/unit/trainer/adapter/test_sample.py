"""The sample that is learnt from: whole objects, and images without an object one by one."""

from datetime import UTC, datetime

import numpy as np
import pytest

from catalog.images import Image
from trainer.adapter import sample as module
from trainer.adapter.object_number import object_number, object_of
from trainer.adapter.pca import spanning_object
from trainer.adapter.sample import Sample

