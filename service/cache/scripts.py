"""The Lua scripts of `store`. The keys of a script share a hash slot, as a cluster requires."""

from service.cache.primaries import Script

# A value of another type cannot be ours. It is deleted, or it would fail every script that reads it.
_TEXT = """
local function text(key)
    local held = redis.pcall('GET', key)
    if type(held) ~= 'table' then
        return held
    end
    if not string.find(held.err, 'WRONGTYPE', 1, true) then
        return redis.call('GET', key)
    end
    redis.call('DEL', key)
    return false
end
"""

# A page that the reader has already is not sent again: its seal and its length are those of what he has.
CLAIM = Script(
    _TEXT
    + """
redis.call('DEL', KEYS[5])
local page = ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 1
if page then
    if ARGV[4] ~= '' and text(KEYS[2]) == ARGV[4] and redis.pcall('STRLEN', KEYS[1]) == tonumber(ARGV[5]) then
        return {'known', redis.call('PTTL', KEYS[1])}
    end
    return {'page', text(KEYS[1]), redis.call('PTTL', KEYS[1]), text(KEYS[2])}
end
text(KEYS[3])
if ARGV[3] == '1' then
    redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
elseif not redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2], 'NX') then
    return {'taken'}
end
return {'granted', text(KEYS[4])}
"""
)

STORE = Script(
    _TEXT
    + """
if text(KEYS[3]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return 1
"""
)

RELEASE = Script(
    _TEXT
    + """
if text(KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return 0
"""
)

# The number in front of a publication is the sync's, in the order in which the config database recorded them. An answer
# between two syncs has the number of the earlier one, and does not replace the answer of a later one.
REMEMBER = Script(
    _TEXT
    + """
local held = text(KEYS[1])
local number = held and tonumber(string.match(held, '^%d+'))
if number and number > tonumber(ARGV[1]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
"""
)

REMEMBER_TEXT = Script("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])")

# A value that is no number cannot be ours: counting begins again. So it does if the count would never expire.
COUNT = Script("""
local count = redis.pcall('INCR', KEYS[1])
if type(count) == 'table' then
    redis.call('DEL', KEYS[1])
    count = redis.call('INCR', KEYS[1])
end
if redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
""")

RECALL_TEXT = Script(_TEXT + "return text(KEYS[1])")

# Marks Redis as used by a deployment, unless it carries another's mark; returns the mark that it then carries.
MARK = Script(
    _TEXT
    + """
local held = text(KEYS[1])
if held and held ~= ARGV[1] then
    return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
)
