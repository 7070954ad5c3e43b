internal import CLinux
internal import Memory

/// The clocks of the machine, in nanoseconds. Read once a loop turn, and passed on as arguments.
public enum Clock {
    /// Since some point in the past; never goes back (`CLOCK_MONOTONIC`).
    public static func monotonic() -> UInt64 { cl_clock(CL_CLOCK_MONOTONIC) }
    /// Since 1970-01-01 UTC; may be set (`CLOCK_REALTIME`).
    public static func wall() -> UInt64 { cl_clock(CL_CLOCK_REALTIME) }
}

/// Facts about the machine and the process.
public enum Machine {
    /// Cores that this process may run on (`sched_getaffinity(2)`).
    public static var usableCores: Int { Int(cl_usable_cores()) }

    /// Raises the soft limit of open descriptors to the hard one; returns the limit in force.
    public static func raiseDescriptorLimit() -> Int { max(Int(cl_raise_descriptor_limit()), 0) }

    /// Memory of the machine, or of the process's control group where that allows less. Bytes.
    public static var memoryBytes: Int {
        let machine = Int(cl_memory_bytes())
        guard let text = try? Files.read("/sys/fs/cgroup/memory.max", limit: 64) else { return machine }
        var value = 0
        for byte in text where byte.isDigit {
            let (product, isOver) = value.multipliedReportingOverflow(by: 10)
            guard !isOver, product < Int.max - 9 else { return machine }
            value = product + Int(byte - 0x30)
        }
        return value > 0 ? min(value, machine) : machine
    }

    /// Memory of this process that is resident now and of no file, so that the kernel cannot take it back; 0 where that
    /// cannot be told (`/proc/self/statm`, in pages). Bytes.
    public static var anonymousBytes: Int {
        guard let text = try? Files.read("/proc/self/statm", limit: 256) else { return 0 }
        // All of the address space, what is resident, and what of that is shared with files.
        let fields = text.split(separator: UInt8(ascii: " "))
        guard fields.count > 2 else { return 0 }
        return max(pages(fields[1]) - pages(fields[2]), 0) * 4096
    }

    private static func pages(_ field: ArraySlice<UInt8>) -> Int {
        var count = 0
        for byte in field where byte.isDigit && count < 1 << 40 { count = count * 10 + Int(byte - 0x30) }
        return count
    }

    /// The value of an environment variable.
    public static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// Tells systemd of a change of state (`sd_notify(3)`); nothing happens outside a unit of `Type=notify`.
    public static func notify(_ message: String) {
        guard let path = environment("NOTIFY_SOCKET") else { return }
        _ = unsafe cl_notify(path, message)
    }

    /// Gives back the program's pages that only the start needed (`madvise(2)`, MADV_DONTNEED on its read-only parts): the
    /// Swift runtime looks through all type records once, and they would stay resident for nothing. Pages in use come
    /// back by minor faults.
    public static func dropStartPages() { _ = cl_drop_program_pages() }

    public static var processNumber: Int32 { getpid() }

    /// Ends the process at once, as `exit(3)` does.
    public static func exit(status: Int32) -> Never { CLinux.exit(status) }
}

/// A thread of our own. The body is a closure that captures only what may be sent.
public struct WorkThread: Sendable {
    private let thread: pthread_t

    /// Starts a thread; the kernel shows at most 15 bytes of `name`.
    public init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        var thread = pthread_t()
        let box = unsafe Unmanaged.passRetained(ThreadBody(run: body))
        let result = unsafe cl_thread_start(&thread, String(name.prefix(15)), threadEntry, box.toOpaque())
        guard result == 0 else {
            unsafe box.release()
            throw SystemError(code: -result)
        }
        self.thread = thread
    }

    /// Waits until the thread's body has returned.
    public func join() { _ = cl_thread_join(thread) }

    /// Nobody will wait for it: what it holds of the system goes when its body returns.
    public func detach() { _ = cl_thread_detach(thread) }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(run: @escaping @Sendable () -> Void) { self.run = run }
}

// A free function in an ordinary file: a closure made in main.swift would be bound to the main actor and trap here.
private func threadEntry(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument = unsafe argument else { return nil }
    unsafe Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
    return nil
}
