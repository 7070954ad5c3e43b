import LinuxIO

/// What a service means to do with one request: the bytes of its answer, where they stop, and what comes then.
struct AnswerPlan {
    enum Start { case head, middle, end }
    enum After {
        case keep
        /// FIN behind the answer.
        case finish
        /// A reset as soon as the answer has been taken.
        case reset
        /// Bytes that answer nothing, in one piece with the end of the answer.
        case poison
    }

    let number: Int
    var start = Start.end
    var image: [UInt8] = []
    /// Where the final head and the body begin.
    var bodyStart = 0
    var after = After.keep
    /// Stops there.
    var cutAt: Int?
    /// How it stops: nothing more comes, an end, or a reset.
    var cut = After.keep
    /// The connection's end is the message's.
    var isUntilEnd = false
    /// What a gateway must not take for an answer.
    var isNonsense = false
}

extension World {
    static let nonsense: [String] = [
        "HTTP/1.1 200\tOK\r\nX-Answer: MARK\r\n\r\n", "ICY 200 OK\r\n\r\n", "\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Answer: MARK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nX-Answer: MARK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nX-Answer: MARK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nX-Answer: MARK\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Answer: MARK\r\nContent-Length : 0\r\n\r\n",
    ]

    func planAnswer(to id: Int) -> AnswerPlan {
        let isRough = mood == .rough
        var answer = Answer(number: answers.count, asking: id)
        var plan = AnswerPlan(number: answer.number)
        let mark = "\(id)-\(answer.number)"
        if isRough, chance.oneIn(10) { plan.start = chance.oneIn(2) ? .head : .middle }
        if isRough, askings[id].method != "HEAD", chance.oneIn(14) {
            plan.isNonsense = true
            plan.image.add(
                World.nonsense[chance.below(World.nonsense.count)].replacing("MARK", with: mark))
            answers.append(answer)
            return plan
        }
        answer.status = [200, 200, 200, 200, 404, 500, 204, 304][chance.below(8)]
        for _ in 0..<(chance.oneIn(6) ? 1 + chance.below(2) : 0) {
            let status = [100, 102, 103][chance.below(3)]
            plan.image.add("HTTP/1.1 \(status) Interim\r\nX-Answer: \(mark)\r\nLink: </style.css>\r\n\r\n")
        }
        let isBodiless = answer.status == 204 || answer.status == 304
        answer.bodyLength = isBodiless ? 0 : length()
        var head = "HTTP/1.\(chance.oneIn(8) ? 0 : 1) \(answer.status) Answer\r\nX-Answer: \(mark)\r\n"
        if chance.oneIn(12) { head += "X-Filler: \(World.fillers[chance.below(6)])\r\n" }
        writeFraming(&plan, &answer, &head, id)
        if isRough || mood == .stale { chooseFaults(&plan, answer, id) }
        answers.append(answer)
        return plan
    }

    /// An answer that opens a tunnel, and all that goes through it; `nil` where the service does not want one.
    func planTunnel(to id: Int) -> AnswerPlan? {
        guard !chance.oneIn(5) else { return nil }
        let isRough = mood == .rough
        var answer = Answer(number: answers.count, asking: id)
        var plan = AnswerPlan(number: answer.number)
        plan.start = .head
        plan.isNonsense = isRough && chance.oneIn(10)
        answer.status = 101
        answer.isUntilEnd = true
        answer.bodyLength = length()
        let accept = plan.isNonsense ? World.webSocketKey : World.webSocketAccept
        plan.image.add(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Accept: \(accept)\r\nX-Answer: \(id)-\(answer.number)\r\n\r\n")
        plan.bodyStart = plan.image.count
        bodies.append(answer.bodyKey, count: answer.bodyLength, to: &plan.image)
        plan.isUntilEnd = true
        plan.after = .finish
        if isRough { chooseFaults(&plan, answer, id) }
        if isRough, chance.oneIn(4) {
            // A tunnel through which nothing comes any more.
            plan.cutAt = plan.bodyStart + chance.below(answer.bodyLength + 1)
            plan.cut = .keep
        }
        answers.append(answer)
        return plan
    }

    private func writeFraming(
        _ plan: inout AnswerPlan, _ answer: inout Answer, _ head: inout String, _ id: Int
    ) {
        let isBodiless = answer.status == 204 || answer.status == 304
        let isVersion10 = head.hasPrefix("HTTP/1.0")
        let isHead = askings[id].method == "HEAD"
        let way = isBodiless ? 3 : chance.below(8)
        var closes = isVersion10 && !chance.oneIn(2)
        if isVersion10, !closes { head += "Connection: keep-alive\r\n" }
        var isChunked = false
        switch way {
        case 0 where !isHead:
            plan.isUntilEnd = true
            closes = true
        case 1, 2, 4:
            if isVersion10 { fallthrough }
            isChunked = true
            head += "Transfer-Encoding: chunked\r\n"
        default:
            if !isBodiless { head += "Content-Length: \(answer.bodyLength)\r\n" }
        }
        if !closes, !isVersion10, chance.oneIn(8) { closes = true }
        if closes {
            if !isVersion10 { head += "Connection: close\r\n" }
            plan.after = .finish
        }
        plan.image.add(head + "\r\n")
        plan.bodyStart = plan.image.count
        answer.isUntilEnd = plan.isUntilEnd
        guard !isHead, !isBodiless else { return }
        if isChunked {
            appendChunks(answer.bodyKey, answer.bodyLength, isBroken: false, to: &plan.image)
        } else {
            bodies.append(answer.bodyKey, count: answer.bodyLength, to: &plan.image)
        }
    }

    func chooseFaults(_ plan: inout AnswerPlan, _ answer: Answer, _ id: Int) {
        if plan.after == .keep {
            switch chance.below(mood == .stale ? 3 : 8) {
            case 0: plan.after = .finish
            case 1 where mood == .rough: plan.after = .reset
            case 2 where mood == .rough: plan.after = .poison
            default: break
            }
        }
        guard mood == .rough else { return }
        if chance.oneIn(6) {
            plan.cutAt = chance.oneIn(4) ? 0 : chance.below(plan.image.count)
            plan.cut = [.keep, .finish, .finish, .reset][chance.below(4)]
        }
    }
}
