"""Serving: a stream of requests on a cluster, request by request and step by step."""
