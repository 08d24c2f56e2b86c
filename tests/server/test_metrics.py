"""Figures in the text format of Prometheus."""

import re
import threading

from lib.server.metrics import BUCKETS, INFER_SECONDS, REQUESTS, Gauge, Metrics

LINE = re.compile(
    r'[a-z_0-9]+(\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\})? [0-9.e+-]+'
)


def test_counters_gauges_and_histograms():
    metrics = Metrics()
    for status in ("200", "200", "404"):
        metrics.count(REQUESTS, method="GET", status=status)
    for seconds in (0.001, 0.03, 500.0):
        metrics.observe(INFER_SECONDS, seconds, model="samed2d")
    text = metrics.text([Gauge("samed2d_x", "X.", 3, (("a", 'q"\\\n'),))])
    assert 'samed2d_requests_total{method="GET",status="200"} 2' in text
    assert f'samed2d_infer_seconds_bucket{{model="samed2d",le="{BUCKETS[0]}"}} 1' in text
    assert 'samed2d_infer_seconds_bucket{model="samed2d",le="0.05"} 2' in text
    assert 'samed2d_infer_seconds_bucket{model="samed2d",le="+Inf"} 3' in text
    assert 'samed2d_infer_seconds_count{model="samed2d"} 3' in text
    assert 'samed2d_infer_seconds_sum{model="samed2d"} 500.031' in text
    assert 'samed2d_x{a="q\\"\\\\\\n"} 3' in text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith("# ") or LINE.fullmatch(line), line
    for name in ("samed2d_requests_total", "samed2d_infer_seconds", "samed2d_x"):
        assert text.count(f"# TYPE {name} ") == 1


def test_threads_lose_nothing():
    metrics = Metrics()

    def work():
        for _ in range(2000):
            metrics.count(REQUESTS, status="200")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 'samed2d_requests_total{status="200"} 8000' in metrics.text()
