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
