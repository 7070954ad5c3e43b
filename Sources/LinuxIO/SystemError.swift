internal import CLinux

/// What the kernel answered, as `errno` names it.
@frozen public struct SystemError: Error, Equatable, Sendable {
    public let code: Int32

    @inlinable public init(code: Int32) { self.code = code }

    /// glibc's words for it.
    public var text: String {
        guard let message = unsafe cl_error_text(code) else { return "error \(code)" }
        return unsafe String(cString: message)
    }

    public var isConnectionRefused: Bool { code == ECONNREFUSED }
    public var isConnectionReset: Bool { code == ECONNRESET }
    public var isAddressInUse: Bool { code == EADDRINUSE }
    /// What stands in the place is no socket.
    public var isOccupied: Bool { code == EEXIST }
    /// Out of descriptors, in the process or in the machine.
    public var isOutOfDescriptors: Bool { code == EMFILE || code == ENFILE }

    /// Turns a C call's answer into a value or a throw.
    static func check(_ result: Int32) throws(SystemError) -> Int32 {
        guard result >= 0 else { throw SystemError(code: -result) }
        return result
    }
}
