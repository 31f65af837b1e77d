"""The Lua scripts of `store`. The keys of a script share a hash slot, as a cluster requires."""

from service.cache.primaries import Script

CLAIM = Script("""
redis.call('DEL', KEYS[4])
local page = ARGV[3] == '0' and redis.call('GET', KEYS[1])
if page then
    return {'page', page, redis.call('PTTL', KEYS[1])}
end
if ARGV[3] == '1' then
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif not redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX') then
    return {'taken'}
end
return {'granted', redis.call('GET', KEYS[3])}
""")

STORE = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return 0
""")

# The number in front of a publication is the sync's, in the order in which the config database recorded them. An answer
# between two syncs has the number of the earlier one, and does not replace the answer of a later one.
REMEMBER = Script("""
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%d+')) > tonumber(ARGV[1]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
""")

REMEMBER_TEXT = Script("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])")

COUNT = Script("""
local count = redis.call('INCR', KEYS[1])
if count == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return count
""")

RECALL_TEXT = Script("return redis.call('GET', KEYS[1])")
