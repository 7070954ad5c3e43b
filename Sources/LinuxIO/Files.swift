internal import CLinux
internal import Memory

/// Files, read whole or appended to. Blocks: for the control side and the log thread.
public enum Files {
    public enum Failure: Error {
        case system(SystemError)
        case tooLarge(limit: Int)

        public var text: String {
            switch self {
            case .system(let error): error.text
            case .tooLarge(let limit): "larger than \(limit) bytes"
            }
        }
    }

    /// The bytes of a file of at most `limit` bytes.
    public static func read(_ path: String, limit: Int) throws(Failure) -> [UInt8] {
        let number = unsafe cl_open(path, CL_O_RDONLY, 0)
        guard number >= 0 else { throw .system(SystemError(code: -number)) }
        let file = Descriptor(owning: number)
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { space in
                unsafe cl_read(file.number, space.baseAddress, space.count)
            }
            if count == -Int(EINTR) { continue }
            guard count >= 0 else { throw .system(SystemError(code: Int32(-count))) }
            if count == 0 { return bytes }
            guard bytes.count + count <= limit else { throw .tooLarge(limit: limit) }
            bytes += chunk[0..<count]
        }
    }

    /// What tells one state of a file from another (`stat(2)`): which file it is, its size, when it was changed.
    public struct State: Hashable, Sendable {
        let device: UInt64
        let inode: UInt64
        let size: UInt64
        /// When its content was written; nanoseconds since 1970.
        public let written: UInt64
        let changed: UInt64
    }

    /// The state of a file now.
    public static func state(_ path: String) throws(SystemError) -> State {
        var facts = (UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        let result = unsafe withUnsafeMutablePointer(to: &facts) { pointer in
            unsafe pointer.withMemoryRebound(to: UInt64.self, capacity: 5) {
                unsafe cl_file_state(path, $0)
            }
        }
        _ = try SystemError.check(result)
        return State(device: facts.0, inode: facts.1, size: facts.2, written: facts.3, changed: facts.4)
    }

    /// Puts `bytes` in the place of a file, whole or not at all, whatever ends the process meanwhile: they are written beside
    /// it (mode 0600), brought to the disk, and renamed (`rename(2)`).
    public static func replace(_ path: String, with bytes: RawSpan) throws(SystemError) {
        let fresh = "\(path).\(Machine.processNumber).new"
        // What a process of this number left behind when it was killed in the middle.
        _ = unsafe cl_unlink(fresh)
        let file = Descriptor(owning: try SystemError.check(unsafe cl_open(fresh, CL_O_WRITE_FRESH, 0o600)))
        do {
            try file.writeAll(bytes)
            _ = try SystemError.check(cl_sync(file.number))
            _ = try SystemError.check(unsafe cl_rename(fresh, path))
        } catch {
            _ = unsafe cl_unlink(fresh)
            throw error
        }
    }

    /// Opens a file to append to, making it if need be (mode 0640).
    public static func openToAppend(_ path: String) throws(SystemError) -> Descriptor {
        Descriptor(owning: try SystemError.check(unsafe cl_open(path, CL_O_APPEND_CREATE, 0o640)))
    }

    /// Writes to standard output or standard error, whichever `number` names; what fails is lost.
    public static func write(_ text: String, to number: Int32) {
        let bytes = Array(text.utf8)
        let descriptor = Descriptor(owning: number)
        try? descriptor.writeAll(bytes.rawSpan)
        _ = descriptor.release()
    }
}
