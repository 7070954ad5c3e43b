import HTTP
import JWT
import LinuxIO
import Memory
import RateLimit

// Rates and requests under way, by client or by whoever calls.
//
// Limits are judged at two points: those by what the head says before the token is verified, those by what the token says
// after. At one point all windows of all limits are looked at, then a token is taken of each, so that a request which any
// of them refuses takes nothing. What the first point took stays taken when the second refuses: the check of the token was
// paid for by then, and must not be free for who is over the limit of a subject.
extension Worker {
    /// Judges limits `first..<end` of the route, which are of one point.
    mutating func checkLimits(
        _ id: SlabID, _ route: Int, _ first: Int, _ end: Int, _ bytes: RawSpan, _ entry: TokenEntryID?,
        _ now: UInt64
    ) -> Refusal? {
        guard end &- first == 1, snapshots[current].routes[route].limits[first].windows.count == 1 else {
            return checkTogether(id, route, first, end, bytes, entry, now)
        }
        guard let place = place(id, route, first, 0, bytes, entry) else { return nil }
        let limit = snapshots[current].routes[route].limits[first].windows[0].limit
        let answer = settings.limiter.take(limit, at: place, now: now)
        note(id, route, first, 0, answer)
        return answer.isAdmitted ? nil : .rateLimited
    }

    mutating func checkSubjectLimits(
        _ id: SlabID, _ route: Int, _ bytes: RawSpan, _ entry: TokenEntryID?, _ now: UInt64
    ) -> Refusal? {
        if snapshots[current].routes[route].concurrency.most > 0,
            let refusal = checkConcurrency(id, route, isEarly: false, bytes, entry)
        {
            return refusal
        }
        let early = snapshots[current].routes[route].earlyLimits
        let count = snapshots[current].routes[route].limits.count
        return early < count ? checkLimits(id, route, early, count, bytes, entry, now) : nil
    }

    @inline(never) private mutating func checkTogether(
        _ id: SlabID, _ route: Int, _ first: Int, _ end: Int, _ bytes: RawSpan, _ entry: TokenEntryID?,
        _ now: UInt64
    ) -> Refusal? {
        var isRefused = false
        for index in first..<end {
            for window in 0..<snapshots[current].routes[route].limits[index].windows.count {
                guard let place = place(id, route, index, window, bytes, entry) else { continue }
                let limit = snapshots[current].routes[route].limits[index].windows[window].limit
                let answer = settings.limiter.peek(limit, at: place, now: now)
                guard !answer.isAdmitted else { continue }
                // All are looked at, so that the client is told to wait for the last of them.
                note(id, route, index, window, answer)
                isRefused = true
            }
        }
        if isRefused { return .rateLimited }
        for index in first..<end {
            for window in 0..<snapshots[current].routes[route].limits[index].windows.count {
                guard let place = place(id, route, index, window, bytes, entry) else { continue }
                let limit = snapshots[current].routes[route].limits[index].windows[window].limit
                let answer = settings.limiter.take(limit, at: place, now: now)
                note(id, route, index, window, answer)
                guard !answer.isAdmitted else { continue }
                // Another thread took the last token between the look and the taking.
                giveBack(id, route, first, upTo: (index, window), bytes, entry)
                return .rateLimited
            }
        }
        return nil
    }

    private mutating func giveBack(
        _ id: SlabID, _ route: Int, _ first: Int, upTo end: (index: Int, window: Int), _ bytes: RawSpan,
        _ entry: TokenEntryID?
    ) {
        for index in first...end.index {
            let count =
                index == end.index ? end.window : snapshots[current].routes[route].limits[index].windows.count
            for window in 0..<count {
                guard let place = place(id, route, index, window, bytes, entry) else { continue }
                settings.limiter.giveBack(
                    snapshots[current].routes[route].limits[index].windows[window].limit, at: place)
            }
        }
    }

    /// Keeps what the client is to be told: of those that refused the one with the longest wait, else the bucket with the
    /// fewest tokens of those that are always told.
    private mutating func note(
        _ id: SlabID, _ route: Int, _ index: Int, _ window: Int, _ answer: LimitAnswer
    ) {
        if answer.isAdmitted {
            guard snapshots[current].routes[route].limits[index].isAlwaysTold else { return }
            if let told = exchanges[id].limitAnswer, !told.isAdmitted || told.remaining <= answer.remaining {
                return
            }
        } else if let told = exchanges[id].limitAnswer, !told.isAdmitted,
            told.retryAfterNanoseconds >= answer.retryAfterNanoseconds
        {
            return
        }
        exchanges[id].limitIndex = index
        exchanges[id].limitWindow = window
        exchanges[id].limitAnswer = answer
    }

    /// Counts the request among those that its key has under way, if that is known at this point. `conclude` lets go of it,
    /// which is where every exchange ends.
    @inline(never) mutating func checkConcurrency(
        _ id: SlabID, _ route: Int, isEarly: Bool, _ bytes: RawSpan, _ entry: TokenEntryID?
    ) -> Refusal? {
        guard snapshots[current].routes[route].concurrency.key.subject.isKnownEarly == isEarly else {
            return nil
        }
        let hash = snapshots[current].routes[route].concurrency.hash
        guard let key = keyHash(id, route, Worker.concurrencyIndex, hash, bytes, entry) else { return nil }
        let most = snapshots[current].routes[route].concurrency.most
        switch settings.inFlight.enter(key, limit: most) {
        case .counted(let slot):
            exchanges[id].countSlot = slot
            return nil
        case .uncounted: return nil
        case .refused: return .tooManyInFlight
        }
    }

    // MARK: Keys

    /// Stands for the route's concurrency where the index of a limit is asked for.
    private static var concurrencyIndex: Int { -1 }

    @inline(__always) private mutating func place(
        _ id: SlabID, _ route: Int, _ index: Int, _ window: Int, _ bytes: RawSpan, _ entry: TokenEntryID?
    ) -> LimitTable.Place? {
        let hash = snapshots[current].routes[route].limits[index].windows[window].limit.hash
        return keyHash(id, route, index, hash, bytes, entry).map { settings.limiter.place($0) }
    }

    /// The hash of what this request is counted by; `nil` where it has nothing of the kind.
    private mutating func keyHash(
        _ id: SlabID, _ route: Int, _ index: Int, _ hash: SipHash, _ bytes: RawSpan, _ entry: TokenEntryID?
    ) -> (UInt64, UInt64)? {
        let subject =
            index < 0
            ? snapshots[current].routes[route].concurrency.key.subject
            : snapshots[current].routes[route].limits[index].key.subject
        switch subject {
        case .client: return clientHash(id, hash)
        case .route: return hash.hash128(snapshots[current].routes[route].name.span)
        case .certificate: return downstreams[exchanges[id].downstream].identityHash(hash)
        case .header:
            guard let value = limitedField(route, index, bytes) else { return nil }
            return hash.hash128(bytes[value])
        case .subject, .consumer:
            let range = exchanges[id].facts.subject
            guard range.isEmpty else { return hash.hash128(exchanges[id].note.bytes[range]) }
            return subject == .consumer ? clientHash(id, hash) : nil
        case .claim:
            let claim =
                index < 0
                ? snapshots[current].routes[route].concurrency.key.claim
                : snapshots[current].routes[route].limits[index].key.claim
            let issuer = snapshots[current].routes[route].issuer
            guard claim >= 0, issuer >= 0, let entry else { return nil }
            return snapshots[current].issuers[issuer].hash(ofClaim: claim, of: entry, by: hash)
        }
    }

    private mutating func clientHash(_ id: SlabID, _ hash: SipHash) -> (UInt64, UInt64) {
        let key = snapshots[current].clientKey(exchanges[id].client)
        return clientHashes.hash128((key.high, key.low), by: hash)
    }

    /// The value of the first field of the name that is counted by.
    private mutating func limitedField(_ route: Int, _ index: Int, _ bytes: RawSpan) -> ByteRange? {
        for line in 0..<requestHead.fields.count {
            let name = bytes[requestHead.fields[line].name]
            let isIt =
                index < 0
                ? name.equalsIgnoringCase(snapshots[current].routes[route].concurrency.key.field.span)
                : name.equalsIgnoringCase(snapshots[current].routes[route].limits[index].key.field.span)
            if isIt { return requestHead.fields[line].value }
        }
        return nil
    }
}

extension IssuerPlan {
    mutating func hash(ofClaim index: Int, of entry: TokenEntryID, by hash: SipHash) -> (UInt64, UInt64)? {
        guard let value = verifier.forwardedValue(index, of: entry) else { return nil }
        return hash.hash128(value)
    }
}
