import threading
import time

import numpy as np

from tools.bench import media


def test_pictures_that_are_decoded_while_the_network_computes():
    computing = threading.Event()

    def pictures():
        for i in range(48):
            if i == 16:  # the first batch is complete
                assert computing.wait(timeout=30)
            yield np.zeros((2, 2, 3), np.uint8)

    def compute(batch):
        assert len(batch) == 16
        computing.set()
        time.sleep(0.3)

    assert 0.5 < media.overlap(pictures(), compute) <= 2 / 3
    assert media.overlap(iter([]), len) == 0
