from __future__ import annotations

import os
import signal

from mmcl.training.stop import SAVE, Stop


def test_a_wish_to_stop_stays_and_a_wish_to_save_is_heeded_once():
    stop = Stop()
    assert stop.heed() == 0
    stop._save(signal.SIGTERM, None)
    stop._save(signal.SIGTERM, None)
    assert [stop.heed(), stop.heed()] == [SAVE, 0]
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.heed() == stop.signal == signal.SIGTERM
        stop._save(signal.SIGTERM, None)
        assert [stop.heed(), stop.heed()] == [signal.SIGTERM] * 2
