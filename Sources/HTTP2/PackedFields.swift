internal import Memory

/// Field lines one behind the other in memory of the workspace: two lengths (four bytes each), the name, the value.
///
/// Whoever holds one calls `free`; there is no `deinit`, since the workspace must be at hand for it.
@unsafe struct PackedFields {
    var base: UnsafeMutableRawPointer?
    var capacity = 0
    var byteCount = 0
    /// Number of lines.
    var count = 0
    /// Bytes as HTTP/1.1 would write them: name, colon, space, value, CR, LF.
    var weight = 0

    static var prefix: Int { 8 }
    static var sensitiveMark: UInt32 { 1 << 31 }

    mutating func removeAll() {
        unsafe byteCount = 0
        unsafe count = 0
        unsafe weight = 0
    }

    mutating func free(in workspace: UnsafeMutablePointer<WorkspaceState>) {
        if let memory = unsafe base { unsafe WorkspaceState.free(memory, in: workspace) }
        unsafe base = nil
        unsafe capacity = 0
        unsafe removeAll()
    }

    /// Room for `extra` more bytes. What was laid down before may move.
    mutating func reserve(_ extra: Int, in workspace: UnsafeMutablePointer<WorkspaceState>) {
        let needed = unsafe byteCount &+ extra
        guard unsafe needed > capacity else { return }
        let wanted = unsafe max(needed, capacity == 0 ? 512 : capacity &* 2)
        let memory = unsafe WorkspaceState.allocate(wanted, in: workspace)
        if let old = unsafe base {
            unsafe memory.copyMemory(from: old, byteCount: byteCount)
            unsafe WorkspaceState.free(old, in: workspace)
        }
        unsafe base = memory
        unsafe capacity = WorkspaceState.capacity(of: memory)
    }

    /// Adds a line; a sensitive one is never indexed (RFC 7541 §7.1.3). The lengths are those of memory that C handed
    /// over or of a span that a head holds; neither reaches 2 GiB.
    mutating func append(
        name: UnsafeRawPointer?, _ nameCount: Int, value: UnsafeRawPointer?, _ valueCount: Int,
        isSensitive: Bool = false, in workspace: UnsafeMutablePointer<WorkspaceState>
    ) {
        let length = unsafe PackedFields.prefix &+ nameCount &+ valueCount
        unsafe reserve(length, in: workspace)
        guard let start = unsafe base else { return }
        let line = unsafe start + byteCount
        let mark = unsafe isSensitive ? PackedFields.sensitiveMark : 0
        unsafe line.storeBytes(of: UInt32(truncatingIfNeeded: nameCount) | mark, as: UInt32.self)
        unsafe line.storeBytes(of: UInt32(truncatingIfNeeded: valueCount), toByteOffset: 4, as: UInt32.self)
        if nameCount > 0, let name = unsafe name {
            unsafe (line + PackedFields.prefix).copyMemory(from: name, byteCount: nameCount)
        }
        if valueCount > 0, let value = unsafe value {
            unsafe (line + PackedFields.prefix + nameCount).copyMemory(from: value, byteCount: valueCount)
        }
        unsafe byteCount &+= length
        unsafe count &+= 1
        unsafe weight &+= nameCount &+ valueCount &+ 4
    }

    /// Adds bytes that belong to no line, behind the lines.
    mutating func appendLoose(
        _ bytes: UnsafeRawPointer, _ count: Int, in workspace: UnsafeMutablePointer<WorkspaceState>
    ) {
        unsafe reserve(count, in: workspace)
        guard let start = unsafe base else { return }
        unsafe (start + byteCount).copyMemory(from: bytes, byteCount: count)
        unsafe byteCount &+= count
    }

    /// The line that begins at `offset`, and the offset of the next.
    func line(at offset: Int) -> (name: ByteRange, value: ByteRange, isSensitive: Bool, next: Int) {
        guard let start = unsafe base else { return (.empty, .empty, false, offset) }
        unsafe precondition(offset >= 0 && offset <= byteCount &- PackedFields.prefix)
        let first = unsafe start.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        let nameCount = unsafe Int(first & ~PackedFields.sensitiveMark)
        let valueCount = unsafe Int(start.loadUnaligned(fromByteOffset: offset &+ 4, as: UInt32.self))
        let nameStart = unsafe offset &+ PackedFields.prefix
        let valueStart = nameStart &+ nameCount
        let next = valueStart &+ valueCount
        unsafe precondition(next <= byteCount)
        return (
            ByteRange(start: nameStart, end: valueStart), ByteRange(start: valueStart, end: next),
            unsafe first & PackedFields.sensitiveMark != 0, next
        )
    }
}
