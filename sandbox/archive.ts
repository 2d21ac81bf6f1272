import { crc32, gzipSync } from 'node:zlib'

/** One member of an archive. `link` makes it a symbolic link to that target. */
export interface Entry {
  readonly name: string
  readonly content?: Buffer
  readonly mode?: number
  readonly link?: string
}

/** A .tar.gz of these entries; the same entries give the same bytes. Names are taken as they are, hostile ones too. */
export function tarGz(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap((entry) => [tarHeader(entry), padded(entry.content ?? Buffer.alloc(0))])
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]), { level: 1 })
}

/** A .zip of these entries, stored without compression. */
export function zip(entries: readonly Entry[]): Buffer {
  const locals: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const entry of entries) {
    const content = entry.link === undefined ? (entry.content ?? Buffer.alloc(0)) : Buffer.from(entry.link)
    const name = Buffer.from(entry.name)
    const common = zipCommon(name, content)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, name, content])
    directory.push(zipDirectoryEntry(entry, common, name, offset))
    locals.push(local)
    offset += local.length
  }
  const index = Buffer.concat(directory)
  return Buffer.concat([...locals, index, zipEnd(entries.length, index.length, offset)])
}

function tarHeader(entry: Entry): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  header.write(entry.name, 0, 100)
  octal(entry.mode ?? 0o644, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(entry.content?.length ?? 0, 124, 12)
  octal(0, 136, 12)
  header.fill(' ', 148, 156)
  header.write(entry.link === undefined ? '0' : '2', 156)
  header.write(entry.link ?? '', 157, 100)
  header.write('ustar\x0000', 257, 'latin1')
  header.write(`${sum(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

function sum(bytes: Buffer): number {
  return bytes.reduce((total, byte) => total + byte, 0)
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)])
}

/** The fields that a local header and a directory entry share. */
function zipCommon(name: Buffer, content: Buffer): Buffer {
  const fields = Buffer.alloc(26)
  fields.writeUInt16LE(20, 0)
  // Bit 11: the name is UTF-8. The date is the format's first, 1980-01-01.
  fields.writeUInt16LE(0x0800, 2)
  fields.writeUInt16LE(0x0021, 8)
  fields.writeUInt32LE(crc32(content), 10)
  fields.writeUInt32LE(content.length, 14)
  fields.writeUInt32LE(content.length, 18)
  fields.writeUInt16LE(name.length, 22)
  return fields
}

function zipDirectoryEntry(entry: Entry, common: Buffer, name: Buffer, offset: number): Buffer {
  const madeByUnix = Buffer.from([20, 3])
  const rest = Buffer.alloc(14)
  const type = entry.link === undefined ? 0o100000 : 0o120000
  rest.writeUInt32LE(((type | (entry.mode ?? 0o644)) << 16) >>> 0, 6)
  rest.writeUInt32LE(offset, 10)
  return Buffer.concat([Buffer.from('PK\x01\x02'), madeByUnix, common, rest, name])
}

function zipEnd(count: number, indexLength: number, indexOffset: number): Buffer {
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 0, 'latin1')
  end.writeUInt16LE(count, 8)
  end.writeUInt16LE(count, 10)
  end.writeUInt32LE(indexLength, 12)
  end.writeUInt32LE(indexOffset, 16)
  return end
}
