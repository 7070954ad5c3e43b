internal import CNghttp2
internal import HTTP
internal import Memory

/// What the HTTP/2 sessions of one worker share: memory for nghttp2 in size classes (4% of the user instructions of a
/// request against malloc), the callbacks, and scratch for heads under construction. Not shared between threads.
///
/// Invariant that makes it safe: the state lives until the workspace and the last of its sessions are gone.
@safe public struct HTTP2Workspace: ~Copyable {
    let state: UnsafeMutablePointer<WorkspaceState>

    /// `keptBytes` bounds the unused memory that is held back from the allocator; 0 hands every piece back at once,
    /// which lets a sanitizer see each use after free.
    /// `sessions` is how many have pages of their own, so that they can nap.
    public init(keptBytes: Int = 1 << 20, sessions: Int = 0) {
        precondition(keptBytes >= 0 && sessions >= 0)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: WorkspaceState(keptLimit: keptBytes, sessions: sessions))
    }

    /// Bytes that sessions of this workspace hold now, nghttp2's own included.
    public var bytesInUse: Int { unsafe state.pointee.bytesInUse }

    /// Bytes held back for later use.
    public var bytesKept: Int { unsafe state.pointee.bytesKept }

    deinit {
        unsafe state.pointee.isAbandoned = true
        unsafe WorkspaceState.releaseIfUnused(state)
    }
}

/// What stands before each piece of memory.
@unsafe struct PieceHeader {
    var next: UnsafeMutablePointer<PieceHeader>?
    /// Bytes after the header.
    var capacity: Int

    /// Keeps what follows aligned to 16 bytes, which nghttp2 expects of malloc.
    static var byteCount: Int { 16 }
}

@unsafe struct WorkspaceState: ~Copyable {
    /// Steps of 64 bytes up to 1 KiB, of 512 up to 8 KiB; the last class holds nghttp2's frame buffer of 16,394 bytes.
    static var classCount: Int { 31 }

    let lists: UnsafeMutablePointer<UnsafeMutablePointer<PieceHeader>?>
    let keptLimit: Int
    var bytesKept = 0
    var bytesInUse = 0
    var sessionCount = 0
    var isAbandoned = false
    let callbacks: OpaquePointer?
    /// Fields of the head under construction: bytes, then where each name and value lies.
    var scratch = unsafe PackedFields()
    /// The status of that head, where it is a response's.
    var status = 0
    /// The digits of every status from 100 to 999, which nghttp2 may look at until the head is written.
    let statusDigits: UnsafeMutablePointer<UInt8>
    var pairs: UnsafeMutablePointer<nghttp2_nv>
    var pairCapacity = 64
    /// For heads that have no table: made once, since making one allocates.
    let noFields = FieldTable(capacity: 0)
    /// The buffer in which every session of the workspace lays out its frames.
    ///
    /// nghttp2 makes one of 16,394 bytes for each session and keeps it, which is more than all else that an idle
    /// connection holds. What lies in it is needed only within one call of `nghttp2_session_mem_send`: we copy what that
    /// hands out before the next call, and `onSendData` writes the header of a DATA frame itself, so that a frame which
    /// waits for blocks needs nothing of it either. A head that does not fit it goes on in buffers of its session's own.
    let frameBuffer: UnsafeMutableRawPointer
    /// While a session is made: what it asks for is laid out in its pages, and its first buffer for frames is the shared one.
    var isMakingSession = false
    var lendsFrameBuffer = false
    var arenaOfNew = -1
    var arenaUsed = 0
    var arenas: SessionArenas
    /// Made by the first nap.
    var napPattern: NapPattern?

    init(keptLimit: Int, sessions: Int) {
        unsafe arenas = SessionArenas(capacity: sessions)
        unsafe self.keptLimit = keptLimit
        unsafe lists = .allocate(capacity: WorkspaceState.classCount)
        unsafe lists.initialize(repeating: nil, count: WorkspaceState.classCount)
        unsafe pairs = .allocate(capacity: 64)
        unsafe statusDigits = .allocate(capacity: 2700)
        for status in 100...999 {
            let place = unsafe statusDigits + (status - 100) * 3
            unsafe place.initialize(to: 0x30 + UInt8(status / 100))
            unsafe (place + 1).initialize(to: 0x30 + UInt8(status / 10 % 10))
            unsafe (place + 2).initialize(to: 0x30 + UInt8(status % 10))
        }
        unsafe callbacks = makeCallbacks()
        let piece = unsafe UnsafeMutableRawPointer.allocate(
            byteCount: WorkspaceState.frameBufferBytes + PieceHeader.byteCount, alignment: 16)
        unsafe piece.bindMemory(to: PieceHeader.self, capacity: 1).initialize(
            to: PieceHeader(next: nil, capacity: WorkspaceState.frameBufferBytes | WorkspaceState.arenaMark))
        unsafe frameBuffer = piece + PieceHeader.byteCount
    }

    /// nghttp2's frame buffer is 16,394 bytes: nine of a frame's header, one of padding's length, 16 KiB.
    static var frameBufferBytes: Int { 16448 }

    /// The class whose pieces hold `size` bytes and how many they hold; `nil` for what is larger than any class.
    @inline(__always) static func sizeClass(_ size: Int) -> (index: Int, capacity: Int)? {
        if size <= 1024 {
            let step = size <= 64 ? 1 : (size &+ 63) &>> 6
            return (step &- 1, step &* 64)
        }
        if size <= 8192 {
            let step = (size &+ 511) &>> 9
            return (step &+ 13, step &* 512)
        }
        if size <= 16448 { return (30, 16448) }
        return nil
    }

    static func allocate(_ size: Int, in state: UnsafeMutablePointer<WorkspaceState>)
        -> UnsafeMutableRawPointer
    {
        var capacity = size
        if let (index, classCapacity) = unsafe sizeClass(size) {
            capacity = classCapacity
            if let piece = unsafe state.pointee.lists[index] {
                unsafe state.pointee.lists[index] = piece.pointee.next
                unsafe state.pointee.bytesKept &-= capacity
                unsafe state.pointee.bytesInUse &+= capacity
                return unsafe UnsafeMutableRawPointer(piece) + PieceHeader.byteCount
            }
        }
        let raw = unsafe UnsafeMutableRawPointer.allocate(
            byteCount: capacity + PieceHeader.byteCount, alignment: 16)
        unsafe raw.bindMemory(to: PieceHeader.self, capacity: 1).initialize(
            to: PieceHeader(next: nil, capacity: capacity))
        unsafe state.pointee.bytesInUse &+= capacity
        return unsafe raw + PieceHeader.byteCount
    }

    static func capacity(of memory: UnsafeMutableRawPointer) -> Int {
        unsafe (memory - PieceHeader.byteCount).assumingMemoryBound(to: PieceHeader.self).pointee.capacity
            & ~arenaMark
    }

    static func free(_ memory: UnsafeMutableRawPointer, in state: UnsafeMutablePointer<WorkspaceState>) {
        let piece = unsafe (memory - PieceHeader.byteCount).assumingMemoryBound(to: PieceHeader.self)
        let capacity = unsafe piece.pointee.capacity
        guard unsafe capacity & arenaMark == 0 else { return }
        unsafe state.pointee.bytesInUse &-= capacity
        if unsafe state.pointee.bytesKept &+ capacity <= state.pointee.keptLimit,
            let (index, _) = unsafe sizeClass(capacity)
        {
            unsafe piece.pointee.next = state.pointee.lists[index]
            unsafe state.pointee.lists[index] = piece
            unsafe state.pointee.bytesKept &+= capacity
        } else {
            unsafe UnsafeMutableRawPointer(piece).deallocate()
        }
    }

    static func releaseIfUnused(_ state: UnsafeMutablePointer<WorkspaceState>) {
        guard unsafe state.pointee.isAbandoned, unsafe state.pointee.sessionCount == 0 else { return }
        unsafe state.pointee.scratch.free(in: state)
        for index in 0..<(unsafe classCount) {
            while let piece = unsafe state.pointee.lists[index] {
                unsafe state.pointee.lists[index] = piece.pointee.next
                unsafe UnsafeMutableRawPointer(piece).deallocate()
            }
        }
        unsafe state.pointee.lists.deallocate()
        unsafe state.pointee.pairs.deallocate()
        unsafe state.pointee.statusDigits.deallocate()
        unsafe state.pointee.arenas.free()
        unsafe state.pointee.napPattern?.free()
        unsafe (state.pointee.frameBuffer - PieceHeader.byteCount).deallocate()
        unsafe nghttp2_session_callbacks_del(state.pointee.callbacks)
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    /// Makes room for `count` pairs.
    static func reservePairs(_ count: Int, in state: UnsafeMutablePointer<WorkspaceState>) {
        guard unsafe count > state.pointee.pairCapacity else { return }
        unsafe state.pointee.pairs.deallocate()
        unsafe state.pointee.pairs = .allocate(capacity: count &* 2)
        unsafe state.pointee.pairCapacity = count &* 2
    }

    /// The allocator of nghttp2, with `state` as its argument.
    static func memory(of state: UnsafeMutablePointer<WorkspaceState>) -> nghttp2_mem {
        unsafe nghttp2_mem(
            mem_user_data: UnsafeMutableRawPointer(state), malloc: workspaceMalloc, free: workspaceFree,
            calloc: workspaceCalloc, realloc: workspaceRealloc)
    }
}

private func workspace(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<WorkspaceState>? {
    unsafe argument?.assumingMemoryBound(to: WorkspaceState.self)
}

private func workspaceMalloc(_ size: Int, _ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let state = unsafe workspace(argument), size >= 0, size < 1 << 40 else { return nil }
    if unsafe state.pointee.isMakingSession,
        let memory = unsafe WorkspaceState.allocateForSession(size, in: state)
    {
        return unsafe memory
    }
    return unsafe WorkspaceState.allocate(size, in: state)
}

private func workspaceFree(_ memory: UnsafeMutableRawPointer?, _ argument: UnsafeMutableRawPointer?) {
    guard let memory = unsafe memory, let state = unsafe workspace(argument) else { return }
    unsafe WorkspaceState.free(memory, in: state)
}

private func workspaceCalloc(
    _ count: Int, _ size: Int, _ argument: UnsafeMutableRawPointer?
) -> UnsafeMutableRawPointer? {
    let (total, overflows) = count.multipliedReportingOverflow(by: size)
    guard !overflows, let memory = unsafe workspaceMalloc(total, argument) else { return nil }
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: total)
    return unsafe memory
}

private func workspaceRealloc(
    _ memory: UnsafeMutableRawPointer?, _ size: Int, _ argument: UnsafeMutableRawPointer?
) -> UnsafeMutableRawPointer? {
    guard let old = unsafe memory else { return unsafe workspaceMalloc(size, argument) }
    let capacity = unsafe WorkspaceState.capacity(of: old)
    if size <= capacity { return unsafe old }
    guard let new = unsafe workspaceMalloc(size, argument) else { return nil }
    unsafe new.copyMemory(from: old, byteCount: capacity)
    unsafe workspaceFree(old, argument)
    return unsafe new
}
