"""Does a detector gain from generated pairs? Protocol, statistics, detectors (torch; extra `benefit`)."""
