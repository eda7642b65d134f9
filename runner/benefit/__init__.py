"""Does a detector gain from generated pairs? Data, protocol, detectors, statistics (extra `benefit`; torch in detectors/)."""
