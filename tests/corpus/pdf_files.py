"""PDF files with a layer of text, written by hand: pypdf reads, and draws nothing."""

from pypdf import PdfReader, PdfWriter


def pdf_file(path, pages, title="", outline=()):
    """`pages` are lists of lines; `outline` has (heading, page, level) in order."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    kids = []
    for lines in pages:
        drawn = "".join(f"({line.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}) Tj T*\n" for line in lines)
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td\n{drawn}ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        resources = "<< /Font << /F1 3 0 R >> >>"
        content = len(objects)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources} /Contents {content} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    data, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    data += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    path.write_text(f"{data}startxref\n{data.index('xref')}\n%%EOF\n", encoding="latin-1")
    writer, parents = PdfWriter(), {}
    writer.append(PdfReader(path))
    writer.add_metadata({"/Title": title})
    for heading, page, level in outline:
        parents[level] = writer.add_outline_item(title=heading, page_number=page, parent=parents.get(level - 1))
    writer.write(path)
