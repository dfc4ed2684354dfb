-- The action `tidegate` for HAProxy 2.6 or newer with Lua: asks a Tidegate node about the request at hand, and gives the
-- client the node's answer where the request must not pass.
--
--   http-request lua.tidegate /v1/authz?domain=default&header.user_id=X-User-Id
--
-- Nothing that a client writes reaches the node, but the fields that the target names by header.NAME=Field and User-Agent.
--
-- The application sees the node's RateLimit fields, in place of a client's. Variables for the configuration:
--   txn.tidegate_status   the status of the node, or of HAProxy where it would not ask; not set where no node answered
--   txn.tidegate_limit    the field RateLimit; not set where the answer has none
--   txn.tidegate_policy   the field RateLimit-Policy; the same

-- The `listen` section that spreads questions over the nodes. An abstract socket, so that `chroot` does not hide it.
local NODES = "abns@tidegate"

-- Said by every answer of a node, and by nothing that HAProxy answers in a node's place.
local STATUS = "x-tidegate-status"

-- Fields of the node's answer that concern its connection, and not the client's.
local OF_THE_CONNECTION = { ["connection"] = true, ["content-length"] = true, ["date"] = true, ["keep-alive"] = true,
    ["transfer-encoding"] = true }

-- What HAProxy answers where no node does. Whatever else comes without STATUS is about the question, and so about the client's request:
-- if that passed, a client would only have to ask for too much.
local NOBODY_ANSWERED = { [502] = true, [503] = true, [504] = true }

-- The most values of one field. The node refuses a field that is there twice; HAProxy 2.6 does not survive more fields than it can have.
local MOST_VALUES = 2

-- The longest question in bytes, which has to fit into tune.bufsize (16,384 by default) with the fields that HAProxy adds.
local MOST_BYTES = 14000

-- Values as an action gets them begin at 0; as it gives them, at 1.
local function values(field, most)
    local list = {}
    for index = 0, math.min(#field, (most or math.huge) - 1) do
        list[index + 1] = field[index]
    end
    return list
end

-- What the node is told of the request.
local function description(txn, target)
    local sent = txn.http:req_get_headers()
    local fields = {}
    local function pass_on(name)
        if sent[name] then
            fields[name] = values(sent[name], MOST_VALUES)
        end
    end
    for name in target:gmatch("[?&]header%.[^=&]+=([^&]+)") do
        pass_on(name:lower())
    end
    pass_on("host")
    pass_on("user-agent")
    -- Last: these are never a client's.
    fields["x-original-method"] = { txn.sf:method() }
    fields["x-original-uri"] = { txn.sf:pathq() }
    fields["x-forwarded-for"] = { txn.sf:src() }
    return fields
end

local function bytes_of(target, fields)
    local bytes = #target
    for name, list in pairs(fields) do
        for _, value in ipairs(list) do
            bytes = bytes + #name + #value + 4
        end
    end
    return bytes
end

local function refuse(txn, answer)
    local fields = {}
    for name, field in pairs(answer.headers or {}) do
        if not OF_THE_CONNECTION[name] then
            fields[name] = values(field)
        end
    end
    txn:done(txn:reply { status = answer.status, reason = answer.reason, headers = fields, body = answer.body })
end

-- For the application and for the client, what the node says of the limit, and nothing where it says nothing.
local function tell(txn, answer, name, variable)
    txn.http:req_del_header(name)
    local field = answer and answer.headers[name:lower()]
    if field then
        txn.http:req_set_header(name, field[0])
        txn:set_var(variable, field[0])
    end
end

local function ask(txn, target)
    local fields = description(txn, target)
    local answer
    if bytes_of(target, fields) > MOST_BYTES then
        answer = { status = 431, reason = "Request Header Fields Too Large" }
    else
        answer = core.httpclient():get { url = "http://tidegate" .. target, dst = NODES, headers = fields }
    end
    local is_of_node = answer.headers and answer.headers[STATUS]
    if not is_of_node and (not answer.status or answer.status == 0 or NOBODY_ANSWERED[answer.status]) then
        answer = nil
    else
        txn:set_var("txn.tidegate_status", answer.status)
        if not is_of_node or answer.status < 200 or answer.status > 299 then
            return refuse(txn, answer)
        end
    end
    tell(txn, answer, "RateLimit", "txn.tidegate_limit")
    tell(txn, answer, "RateLimit-Policy", "txn.tidegate_policy")
end

core.register_action("tidegate", { "http-req" }, ask, 1)
