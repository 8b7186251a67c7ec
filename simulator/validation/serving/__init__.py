"""Serving against servers and simulators: real vLLM runs, published serving points, per-request golden outputs."""
