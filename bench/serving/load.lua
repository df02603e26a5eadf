-- One fixed POST per connection, paced by a delay in milliseconds: wrk ... -- BODY_FILE HEADER_LENGTH DELAY
local pause = 0
function init(args)
    local f = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = f:read("*a")
    f:close()
    if args[2] ~= "0" then
        wrk.headers["Inference-Header-Content-Length"] = args[2]
        wrk.headers["Content-Type"] = "application/octet-stream"
    end
    pause = tonumber(args[3] or "0")
end
function delay()
    return pause
end
