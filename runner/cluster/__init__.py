"""The plan's shards as Ray tasks on machines that share nothing but an object store (extra `cluster`)."""
