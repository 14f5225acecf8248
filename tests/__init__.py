"""Tests: one folder a room; `servers` starts private real servers, `sample` has documents to render."""
