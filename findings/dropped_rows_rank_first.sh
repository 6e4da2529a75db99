#!/usr/bin/env bash
# A row of an embedding table that pruning dropped whole is the nearest neighbour of every query.
#
# What:      cosine search over a table of 200 rows of which 180 are all zeros, in two SQL engines.
#            sqlite-vec 0.1.9, SQLite 3.54.1 (apsw 3.54.1.0): the distance to a zero row is 0/0, which SQLite
#              keeps as NULL, and NULL is the smallest value: ORDER BY distance begins with the zero rows.
#              Its index (vec0) compares NaN while it collects the k best and loses true neighbours as well.
#            duckdb 2.0.1: the similarity is NaN and NaN the largest value: ORDER BY similarity DESC begins
#              with the zero rows, whereas ORDER BY array_cosine_distance, the same question, is right.
#            usearch 2.26.6 takes the distance to a zero row as 1 and is right.
# Why:       whole rows fall in row pruning, with wide blocks and at high levels. The table looks healthy
#            (no NaN in it, lookups work), and no engine says a word: every search returns what was dropped.
#            Store only the rows that are kept, or ask for WHERE distance IS NOT NULL / NOT isnan(similarity).
# Measured:  2026-11-30, x86-64, Python 3.11. Fails if an engine's answer changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check --only-binary :all: \
  numpy==2.4.6 apsw==3.54.1.0 sqlite-vec==0.1.9 duckdb==2.0.1 usearch==2.26.6
"$dir/venv/bin/python" - <<'PY'
import sys, apsw, duckdb, numpy as np, sqlite_vec
from usearch.index import Index

rng = np.random.default_rng(0)
table = rng.standard_normal((200, 16)).astype("float32")
dropped = rng.choice(200, 180, replace=False)
table[dropped] = 0
queries = rng.standard_normal((50, 16)).astype("float32")
kept = [int(i) for i in range(200) if i not in set(dropped.tolist())]
unit = table[kept] / np.linalg.norm(table[kept], axis=1, keepdims=True)
truth = [[kept[i] for i in np.argsort(-(unit @ q))[:5]] for q in queries]

lite = apsw.Connection(":memory:")
lite.enable_load_extension(True)
lite.load_extension(sqlite_vec.loadable_path())
lite.execute("create table t(id integer primary key, v blob)")
lite.execute("create virtual table k using vec0(v float[16] distance_metric=cosine)")
duck = duckdb.connect()
duck.execute("create table t(id int, v float[16])")
index = Index(ndim=16, metric="cos")
for i, row in enumerate(table):
    lite.execute("insert into t values(?, ?)", (i, row.tobytes()))
    lite.execute("insert into k(rowid, v) values(?, ?)", (i + 1, row.tobytes()))
    duck.execute("insert into t values(?, ?)", [i, row.tolist()])
    index.add(i, row)

def first(rows):
    return [r[0] for r in rows]

ways = {
    "sqlite-vec ORDER BY distance": lambda q: first(lite.execute("select id from t order by vec_distance_cosine(v, ?) limit 5", (q.tobytes(),))),
    "sqlite-vec index vec0": lambda q: first(lite.execute("select rowid - 1 from k where v match ? and k = 5 order by distance", (q.tobytes(),))),
    "duckdb ORDER BY similarity DESC": lambda q: first(duck.execute("select id from t order by array_cosine_similarity(v, ?::float[16]) desc limit 5", [q.tolist()]).fetchall()),
    "duckdb ORDER BY distance": lambda q: first(duck.execute("select id from t order by array_cosine_distance(v, ?::float[16]) limit 5", [q.tolist()]).fetchall()),
    "usearch": lambda q: [int(i) for i in index.search(q, 5, exact=True).keys],
}
print("of 50 queries for the 5 nearest rows     led by a dropped row   other than the kept rows' answer")
seen = {}
for name, ask in ways.items():
    answers = [ask(q) for q in queries]
    seen[name] = sum(a[0] in dropped for a in answers), sum(a != t for a, t in zip(answers, truth))
    print(f"{name:38} {seen[name][0]:20} {seen[name][1]:30}")
sys.exit(list(seen.values()) != [(50, 50), (50, 50), (50, 50), (0, 0), (0, 0)])
PY
