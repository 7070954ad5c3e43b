import HTTP
import Memory

// What every client judges alike, whichever protocol it speaks.
extension World {
    /// The mark that a service puts on its answers.
    func origin(_ head: Head) -> (asking: Int, number: Int)? {
        guard let words = head.value("x-answer")?.split(separator: "-"), words.count == 2,
            let asking = Int(words[0]), let number = Int(words[1]), number < answers.count
        else { return nil }
        return (asking, number)
    }

    /// The head of a final answer to `id` as its client got it; the service's answer that it is of, `nil` for one of the
    /// gateway's own.
    func judgeHead(_ head: Head, status: Int, for id: Int, _ who: String) -> Int? {
        askings[id].seenStatus = status
        guard let mark = origin(head) else {
            if head.value("content-type") != "application/problem+json" {
                violate("\(who) got an answer that nobody gave: \(head.first)")
            }
            return nil
        }
        if mark.asking != id {
            violate("\(who) got the answer to \(mark.asking) for its \(id)")
        } else if answers[mark.number].status != status {
            violate("\(who) got status \(status) in place of the service's")
        }
        return mark.number
    }

    /// The client of `id` takes what it got for a whole answer.
    func judgeWhole(_ id: Int, _ answer: Int?, _ received: Int, _ refusal: [UInt8], _ who: String) {
        askings[id].receivedBytes = received
        if let answer {
            let given = answers[answer]
            if !given.isWhole { violate("\(who) took a part for the whole of answer \(answer)") }
            if received != given.bodyLength, askings[id].method != "HEAD" {
                violate("\(who) got \(received) of \(given.bodyLength) bytes as the whole")
            }
            askings[id].outcome = .answered(answer)
        } else {
            let text = String(decoding: refusal, as: UTF8.self)
            let status = askings[id].seenStatus
            if askings[id].method != "HEAD", !askings[id].isMalformed,
                !text.contains("\"status\":\(status),") || !text.hasSuffix("}\n")
            {
                violate("\(who) got a problem that is none: \(text)")
            }
            askings[id].outcome = .refused(status)
        }
        trace("\(who) has its answer to \(id): \(askings[id].outcome)")
    }

    /// In a schedule without faults a request is answered, whole; in a stale one those that may not be sent twice may
    /// fail.
    func judgeFairly(_ id: Int, isNarrow: Bool, _ who: String) {
        let asking = askings[id]
        switch asking.outcome {
        case .answered(let number):
            if asking.isTunnel, answers[number].status == 101, asking.wholeDeliveries != 1 {
                violate("the service did not get all that request \(id) sent through its tunnel")
            }
        case .refused(let status):
            let isExpected =
                (status == 404 && asking.service == World.nowhere)
                || (status == 413 && asking.bodyLength > 150_000 && !asking.isTunnel)
                || (status == 503 && isNarrow)
                || (status == 501 && asking.isTunnel && asking.service == World.streamed)
            // Refusals use up tries that a stale connection would have needed.
            let isStale =
                mood == .stale && status == 502
                && (!asking.mayBeRepeated || (asking.service == World.streamed && refusalsLeft < 2))
            // What does not fit the memory for another try is lost with the stream that refused it, or with the connection that
            // went away before it came.
            let wasTurnedAway = asking.refusals > 0 || asking.service == World.streamed && departures > 0
            let isTooLarge = status == 502 && wasTurnedAway && asking.bodyLength > 60_000
            if !isExpected, !isStale, !isTooLarge { violate("request \(id) was refused with \(status)") }
        case .none:
            if !isDraining { violate("request \(id) of \(who) was not answered") }
        case .broken:
            let isRefused = asking.resetCode == 7 && isDraining
            if !isRefused { violate("the answer to \(id) is broken") }
        }
    }

    /// A head of HTTP/2, as text.
    func heard(_ head: borrowing ResponseHead, _ bytes: RawSpan) -> Head {
        Head(first: "\(head.status)", fields: heard(head.fields, bytes))
    }

    func heard(_ fields: borrowing FieldTable, _ bytes: RawSpan) -> [(name: String, value: String)] {
        var all: [(name: String, value: String)] = []
        for index in 0..<fields.count {
            all.append((bytes[fields[index].name].text, bytes[fields[index].value].text))
        }
        return all
    }
}

extension World {
    /// The request that came to a service, by its path and its mark, which must agree.
    func asking(_ target: Substring, _ head: Head) -> Int? {
        let path = target.split(separator: "?")[0].split(separator: "/")
        guard path.count == 2, let id = Int(path[1]), id < askings.count, askings[id].hasBegun,
            head.values("x-asking") == ["\(id)"], path[0] == World.prefixes[askings[id].service]
        else { return nil }
        return id
    }

    /// A service has got the head of `id`, and does not say that it does nothing with it.
    func noteDelivery(_ id: Int) {
        askings[id].deliveries += 1
        if askings[id].deliveries > (askings[id].isIdempotent ? 3 : 1) {
            violate("\(askings[id].method) \(id) came \(askings[id].deliveries) times")
        }
    }

    /// A service takes what it got of `id` for the whole.
    func noteWholeDelivery(_ id: Int, _ received: Int) {
        let asking = askings[id]
        askings[id].wholeDeliveries += 1
        // Who got as much as was announced cannot know that more was to come.
        let isFoolable = (asking.announced ?? .max) < asking.bodyLength
        let length = isFoolable ? asking.announced : asking.hasBrokenBody ? nil : asking.bodyLength
        if received != length {
            violate("the service took a part for the whole of \(id): \(received) bytes")
        }
    }
}
