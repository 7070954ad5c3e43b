"""What is judged of a long run's samples, and what is drawn of them."""

import statistics

WARM_SHARE = 1 / 3
# Over all that is behind the warm-up. A mebibyte over the later forty minutes of an hour at 200 requests a second is two bytes a
# request; what the allocator gives and takes is less. Judged is anonymous memory, which is the process's own: PSS also moves with
# whatever other process maps the same libraries, RSS with pages of files that it came by at last.
MEMORY_KIB = 1_024
# Under load the connections to the service are as many as were needed at once within the idle timeout, which a stall of the
# machine changes. One that is lost a reload is forty in an hour.
IDLE_DESCRIPTORS, LOADED_DESCRIPTORS = 2, 16
# Of a core, for timers and the sampling of memory.
IDLE_CPU_SHARE = 0.01


def warm(samples):
    """The first sample behind the warm-up."""
    end = samples[-1]["seconds"] * WARM_SHARE
    return next(place for place, sample in enumerate(samples) if sample["seconds"] >= end)


def growth(samples, key):
    """What `key` grew by from the end of the warm-up, as a slope that one spike does not bend: through the medians of the first
    and the last third."""
    held = samples[warm(samples):]
    third = len(held) // 3
    if third < 2:
        raise SystemExit(f"{len(held)} samples behind the warm-up are too few to judge")
    first, last = ({name: statistics.median(sample[name] for sample in part) for name in (key, "seconds")}
                   for part in (held[:third], held[-third:]))
    slope = (last[key] - first[key]) / (last["seconds"] - first["seconds"])
    return slope * (held[-1]["seconds"] - held[0]["seconds"])


def cpu_share(samples):
    """Of one core, behind the warm-up."""
    held = samples[warm(samples):]
    return (held[-1]["cpu_seconds"] - held[0]["cpu_seconds"]) / (held[-1]["seconds"] - held[0]["seconds"])


def verdicts(samples, is_idle):
    first, last = samples[warm(samples)], samples[-1]

    def verdict(what, is_good, text):
        return {"what": what, "is_good": is_good, "text": f"{what:<12}{text}  {'ok' if is_good else 'FAILED'}"}

    most = IDLE_DESCRIPTORS if is_idle else LOADED_DESCRIPTORS
    grown, opened, share = growth(samples, "anon_kib"), growth(samples, "descriptors"), cpu_share(samples)
    yet = [
        verdict("memory", grown <= MEMORY_KIB, f"{first['anon_kib'] / 1024:.2f} MiB anonymous behind the warm-up, "
                f"{last['anon_kib'] / 1024:.2f} at the end: {grown:+,.0f} KiB (at most {MEMORY_KIB:,}); PSS {last['pss_kib'] / 1024:.2f}, "
                f"RSS {last['rss_kib'] / 1024:.2f} MiB"),
        verdict("descriptors", opened <= most, f"{first['descriptors']} behind the warm-up, {last['descriptors']} at the "
                f"end: {opened:+.1f} (at most {most})"),
    ]
    bound = f" (at most {IDLE_CPU_SHARE * 100:.0f}%)" if is_idle else ""
    return [*yet, verdict("CPU", not is_idle or share <= IDLE_CPU_SHARE, f"{share * 100:.2f}% of a core{bound}")]


def panels(samples):
    """(title, unit, series), each series (name, points (minutes, value))."""
    def points(key, scale=1.0):
        return [(sample["seconds"] / 60, sample[key] * scale) for sample in samples]

    # Of so many samples that a tick of the kernel's account is no more than noise.
    stride = max(1, len(samples) // 100)
    held = samples[::stride]
    cpu = [(after["seconds"] / 60, (after["cpu_seconds"] - before["cpu_seconds"]) / (after["seconds"] - before["seconds"]) * 100)
           for before, after in zip(held, held[1:])]
    return [
        ("Memory", "MiB", [("RSS", points("rss_kib", 1 / 1024)), ("PSS", points("pss_kib", 1 / 1024)),
                           ("anonymous", points("anon_kib", 1 / 1024))]),
        ("Descriptors", "", [("open", points("descriptors"))]),
        ("CPU time", "% of a core", [("user and kernel", cpu)]),
    ]
