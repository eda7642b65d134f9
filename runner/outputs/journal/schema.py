"""The tables of a journal, and the states of a job."""

from __future__ import annotations

PENDING, SUBMITTED, COMMITTING, DONE, FAILED = "pending", "submitted", "committing", "done", "failed"

SCHEMA = """
CREATE TABLE IF NOT EXISTS run(id INTEGER PRIMARY KEY, started REAL, request TEXT, version TEXT);
CREATE TABLE IF NOT EXISTS job(
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, category TEXT NOT NULL, type TEXT NOT NULL,
    state TEXT NOT NULL, server TEXT, prompt_id TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0, error TEXT, error_code TEXT, record TEXT, outputs TEXT,
    UNIQUE(category, type, number));
CREATE INDEX IF NOT EXISTS job_state ON job(state);
CREATE TABLE IF NOT EXISTS refused(
    job TEXT NOT NULL, round INTEGER NOT NULL, draw INTEGER, seed TEXT, reason TEXT, scores TEXT,
    whole INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refused_job ON refused(job);
CREATE TABLE IF NOT EXISTS review(
    pair TEXT PRIMARY KEY, job TEXT NOT NULL, kind TEXT NOT NULL, type TEXT, position INTEGER NOT NULL,
    line TEXT NOT NULL, places TEXT NOT NULL, settled INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS attempt(
    job TEXT NOT NULL, server TEXT, prompt_id TEXT, submitted REAL, ended REAL, verdict TEXT);
CREATE INDEX IF NOT EXISTS attempt_job ON attempt(job);
CREATE INDEX IF NOT EXISTS attempt_ended ON attempt(ended);
CREATE TABLE IF NOT EXISTS server(url TEXT PRIMARY KEY, state TEXT NOT NULL, since REAL, text TEXT);
CREATE TABLE IF NOT EXISTS beat(
    one INTEGER PRIMARY KEY CHECK(one=1), run INTEGER, host TEXT, pid INTEGER, total INTEGER, time REAL, ended REAL,
    text TEXT);
"""

#: What stands in a job's outputs once for each pair, its image; nothing has to be parsed to count them.
AN_IMAGE = '"role": "image"'
#: SQL: pairs that a row of `job` holds.
PAIRS = f"(LENGTH(outputs) - LENGTH(REPLACE(outputs, '{AN_IMAGE}', ''))) / {len(AN_IMAGE)}"
